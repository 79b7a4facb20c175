import { createEngine, type Engine } from "../api/engine.ts";
import type { GenerateOptions } from "../api/generate-options.ts";
import { ZiparError } from "../errors.ts";
import { type Logger, silentLogger } from "../logger.ts";
import type { RemoteWorkerOptions } from "../worker/remote/options.ts";
import { generateAll, throwFailure } from "./generate-all.ts";
import { describeImage, describeRun } from "./generate-report.ts";
import { interruptSignal } from "./interrupt.ts";
import { loadingOptions } from "./loading.ts";
import { pick, type ValuesOf } from "./option.ts";
import { type GENERATE, REMOTE, SAMPLING } from "./options.ts";
import { imageFiles } from "./output.ts";
import { showProgress } from "./progress.ts";
import { traceWriter } from "./trace-writer.ts";

type Options = ValuesOf<typeof GENERATE>;

/** `zipar generate`: start, generate `count` images together, save, report. */
export async function runGenerate(prompt: string | undefined, options: Options): Promise<void> {
  const { count, out, seed = Math.floor(Math.random() * 2 ** 32) } = options;
  const request = requestOf(prompt, options);
  const files = options.image ? imageFiles(out, count, seed) : undefined;
  const trace = options.trace === undefined ? undefined : traceWriter(options.trace, count);
  const signal = interruptSignal();
  const engine = await start(options, signal);
  try {
    const startedAt = performance.now();
    const outcomes = await generateAll(engine, { ...request, trace, signal }, { count, seed, files });
    const wallMs = performance.now() - startedAt;
    const images = outcomes.flatMap((outcome, k) =>
      outcome.status === "fulfilled" ? [describeImage(outcome.value, options, files?.[k])] : [],
    );
    if (images.length > 0) process.stdout.write(`${describeRun(engine, options, images, wallMs)}\n`);
    throwFailure(outcomes, files !== undefined);
  } finally {
    await engine.dispose();
  }
}

async function start(options: Options, signal: AbortSignal): Promise<Engine> {
  const progress = showProgress();
  const loading = loadingOptions(options, progress);
  const worker = remoteWorkerOf(options);
  try {
    return await createEngine({
      ...loading,
      size: typeof options.size === "object" ? options.size : undefined,
      worker,
      logger: loading.logger ?? (worker && warningLogger),
      maxQueue: 4096,
      signal,
      onProgress: (step) => {
        loading.onProgress(step);
        if (step.total === null && worker) process.stderr.write(`zipar: ${step.phase}\n`);
      },
    });
  } finally {
    progress.stop();
  }
}

/** Somebody has to start a remote worker: says who is turned away meanwhile. */
const warningLogger: Logger = {
  ...silentLogger,
  warn: (message) => void process.stderr.write(`zipar: ${message}\n`),
};

function remoteWorkerOf(options: Options): RemoteWorkerOptions | undefined {
  const { listen, ...access } = pick(REMOTE, options);
  if (listen !== undefined) return { listen, ...access };
  if (Object.values(access).every((value) => value === undefined)) return undefined;
  throw new ZiparError({
    code: "invalid-options",
    message:
      "--keys, --token-file and --insecure-plaintext belong to --listen; say where to wait for a worker",
  });
}

function requestOf(prompt: string | undefined, options: Options): GenerateOptions {
  const { size, negativePrompt, image } = options;
  const window = windowOf(options);
  return {
    prompt,
    classLabel: options.class,
    negativePrompt,
    size,
    window,
    image,
    ...pick(SAMPLING, options),
  };
}

function windowOf({ window, verification, windowTest: test }: Options): GenerateOptions["window"] {
  if (typeof window === "object" && window.kind === "adaptive") return { ...window, verification, test };
  if (verification === undefined && test === undefined) return window;
  throw new ZiparError({
    code: "invalid-options",
    message: "--verification and --window-test belong to the adaptive window; add --window adaptive",
  });
}
