import { createEngine, type Engine } from "../api/engine.ts";
import type { PrefixOption } from "../api/resolve-prefix.ts";
import type { PictureSettings } from "../picture/settings.ts";
import { generateAll, throwFailure } from "./generate-all.ts";
import type { GenerateOrder } from "./generate-order.ts";
import { describeImage, describeRun } from "./generate-report.ts";
import { interruptSignal } from "./interrupt.ts";
import { tellDifference } from "./like-picture.ts";
import { loadingOptions } from "./loading.ts";
import type { ValuesOf } from "./option.ts";
import type { GENERATE } from "./options.ts";
import { type Progress, showProgress } from "./progress.ts";
import { teamOf } from "./team.ts";
import { traceWriter } from "./trace-writer.ts";

type Options = ValuesOf<typeof GENERATE>;

/**
 * `zipar generate`: start, generate `count` images together, save, report.
 * @param like the settings of a picture that is to be made again
 * @param prefix its first rows
 */
export async function runGenerate(
  { request, seed, target }: GenerateOrder,
  options: Options,
  like: PictureSettings | undefined,
  prefix: PrefixOption | undefined,
): Promise<void> {
  const { count, metadata } = options;
  const files = target?.type === "files" ? target.files : undefined;
  const trace = options.trace === undefined ? undefined : traceWriter(options.trace);
  const signal = interruptSignal();
  const engine = await start(options, signal);
  if (like !== undefined)
    tellDifference(like, { ...options, card: engine.card, dtype: engine.dtype, device: engine.device });
  try {
    const startedAt = performance.now();
    const task = { count, seed, target, metadata };
    const asked = { ...request, prefix, refreshRowEnds: like?.options.refreshRowEnds, trace, signal };
    const outcomes = await generateAll(engine, asked, task);
    const wallMs = performance.now() - startedAt;
    const images = outcomes.flatMap((outcome, k) =>
      outcome.status === "fulfilled" ? [describeImage(outcome.value, options, files?.[k])] : [],
    );
    const report = target?.type === "standard-output" ? process.stderr : process.stdout;
    if (images.length > 0) report.write(`${describeRun(engine, options, images, wallMs)}\n`);
    throwFailure(outcomes, files !== undefined);
  } finally {
    await engine.dispose();
  }
}

async function start(options: Options, signal: AbortSignal): Promise<Engine> {
  const progress = showProgress();
  const asked = engineOptionsOf(options, progress);
  try {
    return await createEngine({
      ...asked,
      signal,
      onProgress: (step) => {
        asked.onProgress(step);
        if (step.total === null && asked.worker) process.stderr.write(`zipar: ${step.phase}\n`);
      },
    });
  } finally {
    progress.stop();
  }
}

/** What `createEngine` is told. */
export function engineOptionsOf(options: Options, progress: Progress) {
  return {
    ...loadingOptions(options, progress),
    ...teamOf(options),
    cudaGraphs: options.cudaGraphs,
    size: typeof options.size === "object" ? options.size : undefined,
    maxQueue: 4096,
  };
}
