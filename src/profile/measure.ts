import { createEngine, type Engine } from "../api/engine.ts";
import type { EngineOptions } from "../api/engine-options.ts";
import type { GenerateOptions } from "../api/generate-options.ts";
import type { GenerationResult } from "../api/generation.ts";
import type { AttentionMasses, Conditioning } from "../decode/worker.ts";
import type { WorkerSource } from "../decode/worker-source.ts";
import { ZiparError } from "../errors.ts";
import { addMasses, type MeanMasses } from "./mean-masses.ts";
import { describeLocality, type LocalityReport } from "./report.ts";

export interface ProfileOptions {
  readonly model: string;
  /** Images to profile; by default one of each class, or of each prompt. */
  readonly samples?: number | undefined;
  /** Of the first image; sample k uses `seed + k`. */
  readonly seed: number;
  /** Share of a row start's attention that a window must keep. */
  readonly windowQuantile: number;
  /** For models that take text, in turn. */
  readonly prompts: readonly string[];
  readonly engine: Pick<
    EngineOptions,
    | "vq"
    | "textEncoder"
    | "weightsKey"
    | "device"
    | "dtype"
    | "weights"
    | "kvCache"
    | "maxImages"
    | "onProgress"
    | "logger"
  >;
  readonly signal?: AbortSignal;
  readonly onProgress?: (stage: "images" | "attention", completed: number, total: number) => void;
  /** For tests: another worker. */
  readonly worker?: WorkerSource;
}

/** What one sample is made from, as `generate` and as the worker take it. */
interface Subject {
  readonly options: Pick<GenerateOptions, "classLabel" | "prompt">;
  readonly conditioning: Conditioning;
}

/** So that a model with many classes is not profiled for hours unless that is asked for. */
const MAX_DEFAULT_SAMPLES = 64;

/**
 * Generates images in next-token order and profiles the attention of each, one teacher-forced pass per image.
 * @throws ZiparError as `createEngine` and `Engine.generate`; `invalid-options`
 */
export async function profileLocality(options: ProfileOptions): Promise<LocalityReport> {
  const { model, seed, windowQuantile, signal, onProgress } = options;
  await using engine = await createEngine({
    ...options.engine,
    model,
    maxQueue: Number.MAX_SAFE_INTEGER,
    worker: options.worker,
    signal,
  });
  const subjects = subjectsOf(options, engine);
  let completed = 0;
  const results = await Promise.all(
    subjects.map(async (subject, k) => {
      const settings = { window: "full", image: false, seed: seed + k, signal } as const;
      const result = await engine.generate({ ...subject.options, ...settings });
      onProgress?.("images", ++completed, subjects.length);
      return result;
    }),
  );
  let masses: MeanMasses | undefined;
  for (const [k, result] of results.entries()) {
    if (signal?.aborted) {
      throw new ZiparError({
        code: "cancelled",
        message: "the profile was cancelled",
        cause: signal.reason,
      });
    }
    masses = addMasses(masses, await profileImage(engine, subjects[k] as Subject, result));
    onProgress?.("attention", k + 1, results.length);
  }
  const { card, device, dtype } = engine;
  const run = { model, device, dtype, seed, windowQuantile, rowEnd: card.rowEnd };
  return describeLocality(run, masses as MeanMasses);
}

/** The first cache row is taken for the prompt, though nothing is written to it. */
function profileImage(
  engine: Engine,
  { conditioning }: Subject,
  { tokens, rows, columns }: GenerationResult,
): Promise<AttentionMasses> {
  return engine.whenIdle(async (worker, newSequence) => {
    const sequence = newSequence();
    await worker.encodePrompt({ sequence, cacheRows: [0], rows, columns, conditioning });
    try {
      return await worker.profile(sequence, Int32Array.from(tokens.flat()), rows, columns);
    } finally {
      await worker.release([sequence]);
    }
  });
}

function subjectsOf({ model, samples, prompts }: ProfileOptions, { card }: Engine): readonly Subject[] {
  const kinds: readonly Subject[] =
    card.conditioning.type === "class"
      ? Array.from({ length: card.conditioning.classCount }, (_, classIndex) => ({
          options: { classLabel: classIndex },
          conditioning: { type: "class", classIndex },
        }))
      : prompts.map((prompt) => ({
          options: { prompt },
          conditioning: { type: "text", prompt, negativePrompt: null },
        }));
  if (kinds.length === 0) {
    throw new ZiparError({
      code: "invalid-options",
      message: `profile: ${model} takes text; give at least one --prompt`,
    });
  }
  if (card.conditioning.type === "class" && prompts.length > 0) {
    throw new ZiparError({
      code: "invalid-options",
      message: `profile: ${model} takes classes, which are profiled in turn; leave --prompt out`,
    });
  }
  const count = samples ?? Math.min(kinds.length, MAX_DEFAULT_SAMPLES);
  return Array.from({ length: count }, (_, k) => kinds[k % kinds.length] as Subject);
}
