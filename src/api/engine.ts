import { randomInt } from "node:crypto";
import { setTimeout as sleep } from "node:timers/promises";
import type { DecodeJob } from "../decode/image.ts";
import type { DecodeLoop, IdleWork } from "../decode/loop.ts";
import { type Occupancy, WorkerPool } from "../decode/pool.ts";
import type { RowCost } from "../decode/row-costs.ts";
import { Supervisor } from "../decode/supervisor.ts";
import type { WorkerStats } from "../decode/worker.ts";
import { asZiparError, reasonOf, ZiparError } from "../errors.ts";
import { describePicture } from "../picture/describe.ts";
import type { ModelCard } from "../protocol/messages.ts";
import { onAbort } from "../system/abort-signal.ts";
import { traceLines } from "../trace/record.ts";
import { describeResult } from "./describe-result.ts";
import { type EngineOptions, type ResolvedEngineOptions, resolveEngineOptions } from "./engine-options.ts";
import { type GenerateOptions, type ResolvedGeneration, resolveGeneration } from "./generate-options.ts";
import { Generation, type GenerationEvent, GenerationResult } from "./generation.ts";
import { GeneratedImage } from "./image.ts";
import {
  checkAlike,
  type OpenedWorker,
  type OpenedWorkers,
  type OpenPlace,
  openWorkers,
} from "./open-workers.ts";
import { decodedCells, withoutUndecoded } from "./preview.ts";
import { userFunction, userLogger } from "./user-function.ts";
import { statusOf, sumOf, type WorkerStatus } from "./worker-status.ts";

/** Between two workers that cannot join, in ms. */
const FIRST_PAUSE_MS = 50;
const LONGEST_PAUSE_MS = 30_000;

/**
 * Starts a worker and loads a checkpoint.
 * @throws ZiparError `invalid-options`, `model-not-found`, `python-environment`, `worker-start`, `worker-died`,
 *   `worker-timeout`, `protocol-version`, `checkpoint`, `device`, `out-of-memory`, `native-module`, `cancelled`
 */
export async function createEngine(options: EngineOptions = {}): Promise<Engine> {
  const startedAt = performance.now();
  const given = resolveEngineOptions(options);
  const resolved = { ...given, logger: userLogger(given.logger) };
  const workers = await openWorkers(resolved);
  return new Engine(workers, resolved, performance.now() - startedAt);
}

/** A loaded model that makes images. Dispose of it, with `await using` or `dispose()`. */
export class Engine implements AsyncDisposable {
  /** What the model is and can do. */
  readonly card: ModelCard;
  /** That of the first worker. */
  readonly device: string;
  readonly dtype: string;
  /** Start and load of the workers, in ms. */
  readonly startMs: number;
  readonly #options: ResolvedEngineOptions;
  readonly #pool: WorkerPool;
  /** Gives up the workers that have not come yet. */
  readonly #abandon: () => void;

  /** @internal */
  constructor({ first, later, abandon }: OpenedWorkers, options: ResolvedEngineOptions, startMs: number) {
    this.#options = options;
    this.#pool = new WorkerPool(
      first.map((opened) => this.#supervise(opened)),
      options.maxQueue,
      options.logger,
    );
    this.#abandon = abandon;
    for (const place of later) this.#letJoin(place, first[0] as OpenedWorker);
    const { card, device, dtype } = this.#first.worker;
    this.card = card;
    this.device = device;
    this.dtype = dtype;
    this.startMs = startMs;
  }

  /** What each worker is and does at the moment. */
  get workers(): readonly WorkerStatus[] {
    return this.#pool.loops.map(statusOf);
  }

  /** Process id of the first worker, where there is one. */
  get workerPid(): number | undefined {
    return this.#first.worker.pid;
  }

  /** Workers that were started in the place of lost ones. */
  get restartCount(): number {
    return this.#pool.loops.reduce((sum, { supervisor }) => sum + supervisor.restartCount, 0);
  }

  /**
   * Makes one image. Calls may overlap: their images share forwards.
   * @throws ZiparError `invalid-options`, `no-image-decoder` at once; the generation rejects with `queue-full`,
   *   `engine-closed`, `cancelled`, `out-of-memory`, `worker-died`, `protocol`
   */
  generate(options: GenerateOptions = {}): Generation {
    const requested = resolveGeneration(options, this.card, () => randomInt(2 ** 32));
    const leaving = new AbortController();
    const { signal: given } = requested;
    // Not AbortSignal.any: some jsdom lacks it, and a signal that outlives many generations would keep something of each.
    const unfollow = given === undefined ? () => {} : onAbort(given, () => leaving.abort(given.reason));
    const leave = () => leaving.abort();
    return new Generation((emit) => {
      const decoding = this.#decode({ ...requested, signal: leaving.signal }, emit, leave);
      decoding.then(unfollow, unfollow);
      return decoding;
    }, leave);
  }

  /**
   * What forwards of the first worker have taken lately, by their rows (queries x branches): from this
   * `lookahead: "auto"` chooses. `workers` has those of all.
   */
  get rowCosts(): readonly RowCost[] {
    return (this.#pool.loops[0] as DecodeLoop).rowCosts;
  }

  /** How many images are decoded and wait, and what of the K/V cache they leave free. */
  get occupancy(): Occupancy {
    return this.#pool.occupancy;
  }

  /** What the workers that run now have done since they started, together. */
  async workerStats(): Promise<WorkerStats> {
    const running = this.#pool.loops.filter(({ state }, k) => k === 0 || state === "ready");
    return sumOf(await Promise.all(running.map(({ supervisor }) => supervisor.worker.stats())));
  }

  /**
   * Runs `work` on one worker once that holds no image and none waits for it; images that are asked for meanwhile wait for its
   * end. Rejects with what `work` rejects with, which the loss of the worker makes it do, and with `engine-closed`.
   * @internal
   */
  whenIdle<Value>(work: IdleWork<Value>): Promise<Value> {
    return this.#pool.whenIdle(work);
  }

  /** Ends the worker; what is still running rejects with `engine-closed`. Safe to call twice. */
  dispose(): Promise<void> {
    this.#pool.close(new ZiparError({ code: "engine-closed", message: "the engine was closed" }));
    this.#abandon();
    return Promise.all(this.#pool.loops.map(({ supervisor }) => supervisor.stop())).then(() => {});
  }

  [Symbol.asyncDispose](): Promise<void> {
    return this.dispose();
  }

  get #first(): Supervisor {
    return (this.#pool.loops[0] as DecodeLoop).supervisor;
  }

  #supervise({ worker, open }: OpenedWorker): Supervisor {
    return new Supervisor(worker, open, this.#options.restarts, this.#options.logger);
  }

  /** Workers that come after the engine has begun: one that cannot join leaves the place to the next. */
  async #letJoin(place: OpenPlace, first: OpenedWorker): Promise<void> {
    const { logger } = this.#options;
    for (let { coming, again } = place, pauseMs = FIRST_PAUSE_MS; ; { coming, again } = again()) {
      try {
        await this.#join(await coming, first);
        return;
      } catch (error) {
        if (this.#pool.isClosed) return;
        logger.warn(`a worker could not join: ${reasonOf(error)}`);
      }
      await sleep(pauseMs, undefined, { ref: false });
      if (this.#pool.isClosed) return;
      pauseMs = Math.min(2 * pauseMs, LONGEST_PAUSE_MS);
    }
  }

  /** @throws ZiparError `invalid-options` where it is unlike the first one; what the engine was closed with */
  async #join(opened: OpenedWorker, first: OpenedWorker): Promise<void> {
    try {
      checkAlike(first, opened);
      this.#pool.join(this.#supervise(opened));
    } catch (error) {
      await opened.worker.stop();
      throw error;
    }
    this.#options.logger.info(`one worker more: ${opened.worker.device}`);
  }

  #decode(
    options: ResolvedGeneration,
    emit: (event: GenerationEvent) => void,
    leave: () => void,
  ): Promise<GenerationResult> {
    const { worker } = this.#first;
    const branchCount = options.sampling.guidanceScale === 1 ? 1 : this.card.branches.length;
    const { model, vq, textEncoder, weightsKey, weights, kvCache } = this.#options;
    const { card, device, dtype } = this;
    const maker = { model, vq, textEncoder, weightsKey, weights, kvCache, card, device, dtype };
    let startedAt = performance.now();
    let restarts = 0;
    const trace = options.trace && userFunction(options.trace, leave);
    return new Promise((resolve, reject) => {
      const fail = (error: unknown) => {
        const failure = trace?.failure();
        reject(failure === undefined ? asZiparError(error, "the generation failed") : failure.cause);
      };
      const job: DecodeJob = {
        options,
        onStart() {
          startedAt = performance.now();
        },
        onStep(state, step) {
          const { cells, drafts } = step.outcome;
          if (trace !== undefined) {
            for (const line of traceLines(worker, options, state, step, performance.now() - startedAt))
              trace.call(line);
          }
          for (const draft of drafts) emit(draft);
          emit({
            type: "step",
            forward: state.forwardCount,
            cells,
            decodedCount: state.decodedCount,
            tokenCount: state.tokens.length,
          });
        },
        onPartialImage(pixels, state) {
          const decoded = decodedCells(state);
          const image = new GeneratedImage(withoutUndecoded(pixels, decoded, state));
          emit({ type: "partial-image", image, forward: state.forwardCount, decoded });
        },
        onWorkerLost(reason) {
          emit({ type: "worker-lost", reason });
        },
        onWorkerRestored(rebuildForwards) {
          restarts += 1;
          emit({ type: "worker-restored", rebuildForwards });
        },
        onDone(state, pixels) {
          const wallMs = performance.now() - startedAt;
          const settings = describePicture(maker, options, state);
          const image = pixels === undefined ? undefined : new GeneratedImage(pixels, settings);
          const fields = describeResult(options, settings, state, wallMs, restarts);
          const result = new GenerationResult(fields, image);
          const end = () => (trace?.failure() === undefined ? resolve(result) : fail(undefined));
          if (trace === undefined) end();
          else trace.settled().then(end);
        },
        onError: fail,
      };
      this.#pool.submit(job, branchCount);
    });
  }
}
