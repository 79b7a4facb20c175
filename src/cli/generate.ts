import { accessSync, constants, statSync } from "node:fs";
import { dirname, extname, join, relative, resolve } from "node:path";
import { createEngine, type Engine } from "../api/engine.ts";
import type { EngineOptions } from "../api/engine-options.ts";
import type { GenerateOptions } from "../api/generate-options.ts";
import type { GenerationResult } from "../api/generation.ts";
import { imageFormatOf } from "../api/image.ts";
import type { ImageSize } from "../api/image-size.ts";
import { ZiparError } from "../errors.ts";
import type { SurrogateRule } from "../schedule/surrogate.ts";
import { generateAll, throwFailure } from "./generate-all.ts";
import { interruptSignal } from "./interrupt.ts";
import { makeFolder } from "./output.ts";
import { progressBar } from "./progress.ts";
import { stderrLogger } from "./stderr-logger.ts";
import { traceWriter } from "./trace-writer.ts";

/** Command-line options, as commander gives them. */
export interface GenerateArguments {
  readonly model: string;
  readonly vq?: string;
  readonly textEncoder?: string;
  readonly size?: ImageSize;
  readonly class?: number | string;
  readonly negativePrompt?: string;
  readonly window?: NonNullable<GenerateOptions["window"]>;
  readonly verification?: "overlapped" | "sequential";
  readonly windowTest?: "rejection" | "coupled";
  readonly surrogate?: SurrogateRule;
  readonly guidanceScale?: number;
  readonly guidanceInterval?: readonly [number, number];
  readonly temperature?: number;
  readonly topK?: number;
  readonly topP?: number;
  readonly seed?: number;
  readonly count: number;
  readonly device: string;
  readonly dtype: NonNullable<EngineOptions["dtype"]>;
  readonly out?: string;
  readonly image: boolean;
  readonly tokens?: boolean;
  readonly trace?: string;
  readonly listen?: string;
  readonly keys?: string;
  readonly tokenFile?: string;
  readonly insecurePlaintext?: boolean;
  readonly json?: boolean;
  readonly verbose?: boolean;
}

interface ImageReport {
  readonly seed: number;
  readonly rows: number;
  readonly columns: number;
  readonly window: number | "full" | "adaptive";
  readonly forwards: number;
  readonly nextTokenForwards: number;
  readonly reduction: number;
  readonly file: string | null;
  readonly tokens?: GenerationResult["tokens"];
  readonly adaptive?: NonNullable<GenerationResult["adaptive"]>;
}

/** `zipar generate`: start, generate `count` images together, save, report. */
export async function runGenerate(prompt: string | undefined, options: GenerateArguments): Promise<void> {
  if (!(options.count >= 1 && options.count <= 4096)) {
    throw new ZiparError({
      code: "invalid-options",
      message: `--count ${options.count}: expected 1 to 4096`,
    });
  }
  const seed = options.seed ?? Math.floor(Math.random() * 2 ** 32);
  const files = options.image ? outputFiles(options, seed) : undefined;
  const trace = options.trace === undefined ? undefined : traceWriter(options.trace, options.count);
  const interrupt = interruptSignal();
  const engine = await start(options, interrupt);
  try {
    const startedAt = performance.now();
    const request = { ...requestOf(prompt, options), trace, signal: interrupt };
    const outcomes = await generateAll(engine, request, { count: options.count, seed, files });
    const wallMs = performance.now() - startedAt;
    const images = outcomes.flatMap((outcome, k) =>
      outcome.status === "fulfilled" ? [describeImage(outcome.value, options, files?.[k])] : [],
    );
    if (images.length > 0) process.stdout.write(`${describeOutcome(engine, options, images, wallMs)}\n`);
    throwFailure(outcomes, files !== undefined);
  } finally {
    await engine.dispose();
  }
}

async function start(options: GenerateArguments, signal: AbortSignal): Promise<Engine> {
  const bar = progressBar("loading");
  try {
    return await createEngine({
      model: options.model,
      device: options.device,
      dtype: options.dtype,
      vq: options.vq,
      textEncoder: options.textEncoder,
      size: typeof options.size === "object" ? options.size : undefined,
      ...workerOf(options),
      ...(options.verbose ? { logger: stderrLogger } : {}),
      maxQueue: 4096,
      signal,
      onProgress: ({ phase, completed, total, unit }) => {
        if (total !== null) bar.update(completed, total, `${phase} (${unit})`);
        else if (options.listen !== undefined) process.stderr.write(`zipar: ${phase}\n`);
      },
    });
  } finally {
    bar.stop();
  }
}

/** Somebody has to start a remote worker: says where, and who is turned away meanwhile. */
function workerOf(options: GenerateArguments): Pick<EngineOptions, "worker" | "logger"> {
  const { listen, keys, tokenFile, insecurePlaintext } = options;
  if (listen === undefined) {
    if (keys === undefined && tokenFile === undefined && !insecurePlaintext) return {};
    throw new ZiparError({
      code: "invalid-options",
      message:
        "--keys, --token-file and --insecure-plaintext belong to --listen; say where to wait for a worker",
    });
  }
  const warn = (message: string) => void process.stderr.write(`zipar: ${message}\n`);
  return {
    worker: { listen, keys, tokenFile, insecurePlaintext },
    logger: { debug() {}, info() {}, warn },
  };
}

function requestOf(prompt: string | undefined, options: GenerateArguments): GenerateOptions {
  const { window, verification, windowTest } = options;
  const isAdaptive = typeof window === "object";
  if (!isAdaptive && (verification !== undefined || windowTest !== undefined)) {
    throw new ZiparError({
      code: "invalid-options",
      message: "--verification and --window-test belong to the adaptive window; add --window adaptive",
    });
  }
  return {
    prompt,
    classLabel: options.class,
    negativePrompt: options.negativePrompt,
    size: options.size,
    window: isAdaptive ? { ...window, verification, test: windowTest } : window,
    surrogate: options.surrogate,
    guidanceScale: options.guidanceScale,
    guidanceInterval: options.guidanceInterval,
    temperature: options.temperature,
    topK: options.topK,
    topP: options.topP,
    image: options.image,
  };
}

/** Where the pictures go, checked before anything is loaded. */
function outputFiles(options: GenerateArguments, seed: number): readonly string[] {
  const { out, count } = options;
  const names = (base: string, ending: string) =>
    Array.from({ length: count }, (_, k) => (count === 1 ? `${base}${ending}` : `${base}-${k + 1}${ending}`));
  if (out !== undefined && extname(out) !== "" && !isDirectory(out)) {
    imageFormatOf(out);
    checkWritable(dirname(resolve(out)), out);
    return names(out.slice(0, -extname(out).length), extname(out));
  }
  const directory = out ?? ".";
  if (out !== undefined) makeFolder(out);
  checkWritable(resolve(directory), directory);
  return Array.from({ length: count }, (_, k) => join(directory, `zipar-${seed + k}.png`));
}

function checkWritable(directory: string, out: string): void {
  try {
    if (!statSync(directory).isDirectory()) throw new Error("it is not a folder");
    accessSync(directory, constants.W_OK);
  } catch (cause) {
    throw new ZiparError({
      code: "image-output",
      message: `--out ${out}: cannot write into ${directory} (${reason(cause)})`,
      cause,
    });
  }
}

function isDirectory(path: string): boolean {
  return statSync(path, { throwIfNoEntry: false })?.isDirectory() ?? false;
}

function describeImage(
  result: GenerationResult,
  options: GenerateArguments,
  file: string | undefined,
): ImageReport {
  const { window, adaptive, stats } = result;
  return {
    seed: result.seed,
    rows: result.rows,
    columns: result.columns,
    window: window.kind === "adaptive" ? "adaptive" : options.window === "full" ? "full" : window.size,
    forwards: stats.forwards,
    nextTokenForwards: stats.nextTokenForwards,
    reduction: stats.reduction,
    file: file ?? null,
    ...(options.tokens ? { tokens: result.tokens } : {}),
    ...(adaptive === undefined ? {} : { adaptive }),
  };
}

function describeOutcome(
  engine: Engine,
  options: GenerateArguments,
  images: readonly ImageReport[],
  wallMs: number,
): string {
  if (!options.json) return describeRun(engine, images, wallMs);
  const { device, dtype, startMs } = engine;
  return JSON.stringify({
    model: options.model,
    device,
    dtype,
    startMs: round(startMs),
    wallMs: round(wallMs),
    images,
  });
}

function describeRun(engine: Engine, images: readonly ImageReport[], wallMs: number): string {
  const lines = images.map(({ file, forwards, nextTokenForwards, reduction, seed, window }) => {
    const saved = `${forwards} forwards instead of ${nextTokenForwards} (-${(100 * reduction).toFixed(1)} %)`;
    return `${file === null ? "tokens" : relative(".", file) || file}  seed ${seed}, window ${window}: ${saved}`;
  });
  const where = `${engine.card.name} on ${engine.device}, ${engine.dtype}`;
  const time = `start ${seconds(engine.startMs)}, generation ${seconds(wallMs)}`;
  return [...lines, `${where}; ${time}`].join("\n");
}

function reason(cause: unknown): string {
  return cause instanceof Error ? cause.message : String(cause);
}

function seconds(ms: number): string {
  return `${(ms / 1000).toFixed(2)} s`;
}

function round(ms: number): number {
  return Math.round(ms * 10) / 10;
}
