import type { Engine } from "../api/engine.ts";
import type { GenerationResult } from "../api/generation.ts";
import type { GeneratedImage } from "../api/image.ts";
import { mean } from "../report/statistics.ts";
import type { SettingSamples } from "./result-store.ts";
import { scoreTokens } from "./score-tokens.ts";
import type { EvalSetting } from "./settings.ts";

/** Which images are made. The same for all settings, so that they can be compared image by image. */
export interface SamplePlan {
  readonly classes: readonly number[];
  readonly samplesPerClass: number;
  /** Sample k of the c-th class uses `seed + k * classes.length + c`. */
  readonly seed: number;
}

export interface SampledSetting {
  readonly samples: SettingSamples;
  /** In the order of `samples.images`; undefined for a model without image tokenizer. */
  readonly pictures: readonly GeneratedImage[] | undefined;
}

export type StageProgress = (
  stage: "greedy" | "images" | "bits per token",
  completed: number,
  total: number,
) => void;

/** Generates all images of a setting together and scores their tokens. `greedyTokens`: where they are known already. */
export async function sampleSetting(
  engine: Engine,
  setting: EvalSetting,
  plan: SamplePlan,
  greedyTokens: SettingSamples["greedyTokens"] | undefined,
  onProgress: StageProgress,
  signal: AbortSignal | undefined,
): Promise<SampledSetting> {
  const startedAt = performance.now();
  const greedy = greedyTokens ?? (await greedyTokensOf(engine, setting, plan, onProgress, signal));
  const requests = Array.from({ length: plan.samplesPerClass }, (_, k) =>
    plan.classes.map((classLabel, c) => ({ classLabel, seed: plan.seed + k * plan.classes.length + c })),
  ).flat();
  const image = engine.card.imageDecoder !== null;
  let completed = 0;
  const results = await Promise.all(
    requests.map(async (request) => {
      const result = await engine.generate({
        lookahead: 0, // the forwards that a window takes are a figure of the report
        ...setting.options,
        ...request,
        image,
        signal,
      });
      onProgress("images", ++completed, requests.length);
      return result;
    }),
  );
  const bits = await scoreTokens(
    engine,
    results.map(({ tokens, rows, columns }, k) => ({
      conditioning: { type: "class", classIndex: (requests[k] as { classLabel: number }).classLabel },
      grid: { rows, columns, rowEnd: engine.card.rowEnd },
      tokens: tokens.flat(),
    })),
  );
  onProgress("bits per token", results.length, results.length);
  return {
    samples: {
      wallMs: Math.round(performance.now() - startedAt),
      nextTokenForwards: (results[0] as GenerationResult).stats.nextTokenForwards,
      hasPictures: image,
      images: results.map(({ seed, stats, adaptive }, k) => ({
        classIndex: (requests[k] as { classLabel: number }).classLabel,
        seed,
        forwards: stats.forwards,
        bitsPerToken: bits[k] as number,
        ...(adaptive === undefined || adaptive.openedAt.length === 0
          ? {}
          : { openedAt: mean(adaptive.openedAt) }),
      })),
      greedyTokens: greedy,
    },
    pictures: image ? results.map((result) => result.image) : undefined,
  };
}

/** One image of each class at temperature 0. */
export async function greedyTokensOf(
  engine: Engine,
  setting: EvalSetting,
  { classes }: SamplePlan,
  onProgress: StageProgress,
  signal: AbortSignal | undefined,
): Promise<SettingSamples["greedyTokens"]> {
  let completed = 0;
  return Promise.all(
    classes.map(async (classLabel) => {
      const request = { classLabel, temperature: 0, seed: 0, image: false };
      const { tokens } = await engine.generate({
        lookahead: 0,
        ...setting.options,
        ...request,
        signal,
      });
      onProgress("greedy", ++completed, classes.length);
      return tokens.flat();
    }),
  );
}
