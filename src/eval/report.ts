import { binomialError, bootstrapError, mean, standardDeviation } from "../report/statistics.ts";
import type { Judgement, Verdict } from "./judge.ts";
import type { SettingSamples } from "./result-store.ts";
import type { EvalSetting } from "./settings.ts";

/** What is measured; null where the checkpoint brings no judge of pictures. */
export interface Measures {
  /** Mean per image, prefill included. */
  readonly forwards: number;
  readonly reduction: number;
  /** Share of pictures whose class the checkpoint's classifier names. */
  readonly accuracy: number | null;
  /** Frechet distance to drawn pictures in the classifier's feature space; smaller is better. */
  readonly frechet: number | null;
  /** Share of tokens at temperature 0 that are those of next-token order. */
  readonly greedyAgreement: number;
  /** Under the model itself, raster order, guidance 1, temperature 1. */
  readonly bitsPerToken: number;
}

/** Minus next-token order, paired by class and seed. */
export type Differences = Pick<Measures, "accuracy" | "frechet" | "bitsPerToken">;

export interface SettingReport extends Measures {
  readonly window: number | string;
  readonly variant?: EvalSetting["variant"];
  /** Mean window at which rows opened, for adaptive ones. */
  readonly openedAt?: number;
  readonly wallMs: number;
  /** One standard error of each measure. */
  readonly errors: Measures;
  readonly differences?: Differences & { readonly errors: Differences };
}

/** Pictures that no transformer made, judged in sets of the same size. */
export interface BaselineReport {
  readonly accuracy: number;
  readonly frechet: number;
  readonly errors: { readonly accuracy: number; readonly frechet: number };
}

export interface EvalReport {
  readonly model: string;
  readonly samplesPerClass: number;
  readonly classes: readonly number[];
  readonly classNames: readonly string[] | null;
  readonly seed: number;
  readonly device: string;
  readonly dtype: string;
  readonly sampling: {
    readonly guidanceScale: number;
    readonly temperature: number;
    readonly topK: number;
    readonly topP: number;
  };
  readonly settings: readonly SettingReport[];
  readonly drawn: BaselineReport | null;
  readonly reconstructed: BaselineReport | null;
}

export interface MeasuredSetting {
  readonly setting: EvalSetting;
  readonly samples: SettingSamples;
  readonly verdict: Verdict | undefined;
}

/** Tokens at temperature 0 in next-token order, per class. */
export type GreedyTokens = SettingSamples["greedyTokens"];

/** @param baseline next-token order, when it is among the settings */
export function describeSetting(
  { setting, samples, verdict }: MeasuredSetting,
  nextTokenGreedy: GreedyTokens,
  baseline: MeasuredSetting | undefined,
): SettingReport {
  const forwards = samples.images.map((image) => image.forwards);
  const bits = samples.images.map((image) => image.bitsPerToken);
  const agreements = greedyAgreements(samples.greedyTokens, nextTokenGreedy);
  const openedAt = samples.images.flatMap((image) => (image.openedAt === undefined ? [] : [image.openedAt]));
  const forwardsError = bootstrapError(forwards);
  const judged = verdict === undefined ? undefined : describeVerdict(verdict);
  return {
    window: setting.window,
    ...(Object.keys(setting.variant).length === 0 ? {} : { variant: setting.variant }),
    forwards: mean(forwards),
    reduction: 1 - mean(forwards) / samples.nextTokenForwards,
    accuracy: judged?.accuracy ?? null,
    frechet: judged?.frechet ?? null,
    greedyAgreement: mean(agreements),
    bitsPerToken: mean(bits),
    ...(openedAt.length === 0 ? {} : { openedAt: mean(openedAt) }),
    wallMs: samples.wallMs,
    errors: {
      forwards: forwardsError,
      reduction: forwardsError / samples.nextTokenForwards,
      accuracy: judged?.errors.accuracy ?? null,
      frechet: judged?.errors.frechet ?? null,
      greedyAgreement: bootstrapError(agreements),
      bitsPerToken: bootstrapError(bits),
    },
    ...(baseline === undefined || baseline.setting === setting
      ? {}
      : { differences: differencesOf({ setting, samples, verdict }, baseline) }),
  };
}

export function describeVerdict({ correct, frechet, frechetResamples }: Verdict): BaselineReport {
  const successCount = correct.reduce((sum, value) => sum + value, 0);
  return {
    accuracy: successCount / correct.length,
    frechet,
    errors: {
      accuracy: binomialError(successCount, correct.length),
      frechet: standardDeviation(frechetResamples),
    },
  };
}

export function describeBaselines(
  judgement: Judgement | undefined,
): Pick<EvalReport, "drawn" | "reconstructed"> {
  if (judgement === undefined) return { drawn: null, reconstructed: null };
  return { drawn: describeVerdict(judgement.drawn), reconstructed: describeVerdict(judgement.reconstructed) };
}

/** Per class: the share of cells with the same token. */
export function greedyAgreements(tokens: GreedyTokens, reference: GreedyTokens): readonly number[] {
  return tokens.map((image, k) => {
    const expected = reference[k] as readonly number[];
    return image.filter((token, cell) => token === expected[cell]).length / image.length;
  });
}

function differencesOf(
  { samples, verdict }: MeasuredSetting,
  baseline: MeasuredSetting,
): NonNullable<SettingReport["differences"]> {
  const bits = paired(
    samples.images.map((image) => image.bitsPerToken),
    baseline.samples.images.map((image) => image.bitsPerToken),
  );
  const errors = { bitsPerToken: bootstrapError(bits), accuracy: null, frechet: null };
  const reference = baseline.verdict;
  if (verdict === undefined || reference === undefined) {
    return { bitsPerToken: mean(bits), accuracy: null, frechet: null, errors };
  }
  const correct = paired(verdict.correct, reference.correct);
  return {
    bitsPerToken: mean(bits),
    accuracy: mean(correct),
    frechet: verdict.frechet - reference.frechet,
    errors: {
      ...errors,
      accuracy: bootstrapError(correct),
      frechet: standardDeviation(paired(verdict.frechetResamples, reference.frechetResamples)),
    },
  };
}

function paired(values: readonly number[], references: readonly number[]): readonly number[] {
  return values.map((value, k) => value - (references[k] as number));
}
