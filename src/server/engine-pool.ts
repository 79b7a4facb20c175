import { deviceCount } from "../api/device-name.ts";
import { createEngine, Engine } from "../api/engine.ts";
import type { EngineOptions } from "../api/engine-options.ts";
import { estimateMemory, inspectModel } from "../api/inspect-model.ts";
import type { StartProgress } from "../decode/worker-source.ts";
import { reasonOf, ZiparError } from "../errors.ts";
import type { ResolvedServerOptions } from "./options.ts";
import { type Occupant, planEvictions } from "./plan-evictions.ts";

/** A loaded engine, which stays its owner's, or the options of one that the server loads and ends. */
export type ServedModel = Engine | EngineOptions;

/** What the K/V cache is reckoned for where `maxImages` does not say. */
const DEFAULT_IMAGES = 8;

export interface ModelStatus {
  readonly name: string;
  readonly state: "not-loaded" | "loading" | "ready" | "failed";
  /** Where a load is. */
  readonly progress?: StartProgress | undefined;
  readonly engine?: Engine | undefined;
}

interface Entry {
  readonly name: string;
  readonly model: ServedModel;
  engine: Engine | undefined;
  loading: Promise<Engine> | undefined;
  progress: StartProgress | undefined;
  hasFailed: boolean;
  /** Bytes that it is reckoned to hold; undefined until that was asked for. */
  bytes: number | undefined;
  userCount: number;
  usedAt: number;
}

/** The engines of a server, by the names that requests may give. */
export class EnginePool {
  readonly #entries: ReadonlyMap<string, Entry>;
  readonly #options: ResolvedServerOptions;
  readonly #closing = new AbortController();
  /** Loads come one after the other: each sees what the one before has left of the memory. */
  #lastLoad: Promise<unknown> = Promise.resolve();

  constructor(models: Readonly<Record<string, ServedModel>>, options: ResolvedServerOptions) {
    this.#options = options;
    this.#entries = new Map(Object.entries(models).map(([name, model]) => [name, entryOf(name, model)]));
    if (this.#entries.size === 0)
      throw new ZiparError({
        code: "invalid-options",
        message: "createServer: no model is given; expected at least one, by its name",
      });
  }

  get names(): readonly string[] {
    return [...this.#entries.keys()];
  }

  get statuses(): readonly ModelStatus[] {
    return [...this.#entries.values()].map(({ name, engine, loading, progress, hasFailed }) => ({
      name,
      state:
        engine !== undefined
          ? "ready"
          : loading !== undefined
            ? "loading"
            : hasFailed
              ? "failed"
              : "not-loaded",
      progress,
      engine,
    }));
  }

  /** Images that a model decodes together; where it is not loaded, what it would at most. */
  capacityOf(name: string): number {
    const { engine, model } = this.#entry(name);
    if (engine !== undefined)
      return Math.max(1, Math.floor(engine.occupancy.cacheRowCount / engine.card.branches.length));
    return (model as EngineOptions).maxImages ?? DEFAULT_IMAGES;
  }

  /** Loads everything. @throws ZiparError what the first load fails with */
  async loadAll(): Promise<void> {
    await Promise.all(this.names.map((name) => this.#load(this.#entry(name))));
  }

  /** The engine, which stays loaded until `release` is called. @throws ZiparError what its load fails with; `out-of-memory` */
  async hold(name: string): Promise<{ readonly engine: Engine; release(): void }> {
    const entry = this.#entry(name);
    entry.userCount += 1;
    const release = () => {
      entry.userCount -= 1;
      entry.usedAt = performance.now();
    };
    try {
      return { engine: await this.#load(entry), release };
    } catch (error) {
      release();
      throw error;
    }
  }

  /** Ends the engines that it loaded. */
  async close(): Promise<void> {
    this.#closing.abort(new ZiparError({ code: "engine-closed", message: "the server was stopped" }));
    await this.#lastLoad.catch(() => {});
    await Promise.all([...this.#entries.values()].map(unload));
  }

  #entry(name: string): Entry {
    const entry = this.#entries.get(name);
    if (entry === undefined) throw new Error(`EnginePool: ${name} is none of ${this.names.join(", ")}`);
    return entry;
  }

  #load(entry: Entry): Promise<Engine> {
    if (entry.engine !== undefined) return Promise.resolve(entry.engine);
    if (entry.loading !== undefined) return entry.loading;
    const loading = this.#lastLoad.catch(() => {}).then(() => this.#start(entry));
    this.#lastLoad = loading;
    entry.loading = loading;
    entry.hasFailed = false;
    loading.then(
      (engine) => Object.assign(entry, { engine, loading: undefined, progress: undefined }),
      (error: unknown) => {
        Object.assign(entry, { loading: undefined, progress: undefined, hasFailed: true });
        this.#options.logger.warn(`${entry.name} could not be loaded: ${reasonOf(error)}`);
      },
    );
    return loading;
  }

  async #start(entry: Entry): Promise<Engine> {
    const { signal } = this.#closing;
    signal.throwIfAborted();
    const options = { ...(entry.model as EngineOptions), signal };
    await this.#makeRoom(entry, options);
    const engine = await createEngine({
      ...options,
      onProgress: (progress) => {
        entry.progress = progress;
        options.onProgress?.(progress);
      },
    });
    entry.usedAt = performance.now();
    return engine;
  }

  async #makeRoom(entry: Entry, options: EngineOptions): Promise<void> {
    const { memoryBudgetBytes: budget, logger } = this.#options;
    if (budget === undefined) return;
    const { maxImages = DEFAULT_IMAGES, maxQueue: _, ...inspected } = options;
    if (entry.bytes === undefined) {
      const description = await inspectModel(inspected);
      entry.bytes = deviceCount(description.device) * estimateMemory(description, maxImages).totalBytes;
    }
    const loaded = [...this.#entries.values()].filter(({ engine }) => engine !== undefined);
    const leaving = planEvictions(
      loaded.map(this.#occupantOf),
      { name: entry.name, bytes: entry.bytes },
      budget,
    );
    for (const { name } of leaving) logger.info(`${name} makes room for ${entry.name}`);
    await Promise.all(leaving.map(({ name }) => unload(this.#entry(name))));
  }

  /** Engines that were given are their owner's, and what is loaded at the start stays. */
  #occupantOf = ({ name, model, bytes = 0, userCount, usedAt }: Entry): Occupant => ({
    name,
    bytes,
    usedAt,
    mayLeave: this.#options.load === "demand" && userCount === 0 && !(model instanceof Engine),
  });
}

function entryOf(name: string, model: ServedModel): Entry {
  return {
    name,
    model,
    engine: model instanceof Engine ? model : undefined,
    loading: undefined,
    progress: undefined,
    hasFailed: false,
    bytes: undefined,
    userCount: 0,
    usedAt: 0,
  };
}

/** At once for whoever asks next; resolves when its memory is free. */
async function unload(entry: Entry): Promise<void> {
  const { engine, model } = entry;
  if (engine === undefined || model instanceof Engine) return;
  entry.engine = undefined;
  await engine.dispose();
}
