import { join } from "node:path";
import { createEngine, type Engine } from "../api/engine.ts";
import type { EngineOptions } from "../api/engine-options.ts";
import type { WindowOption } from "../api/window-name.ts";
import type { WorkerSource } from "../decode/worker-source.ts";
import { ZiparError } from "../errors.ts";
import { resolveModelReference } from "../worker/model-reference.ts";
import { findJudge, type Judge } from "./judge.ts";
import { writePictureSet } from "./picture-set.ts";
import {
  describeBaselines,
  describeSetting,
  type EvalReport,
  type GreedyTokens,
  type MeasuredSetting,
} from "./report.ts";
import { checkpointState, openResultStore, type ResultStore, type SettingSamples } from "./result-store.ts";
import { greedyTokensOf, type SamplePlan, type StageProgress, sampleSetting } from "./sample-setting.ts";
import {
  type EvalSetting,
  lookaheadSettings,
  plainSetting,
  settingName,
  variantSettings,
} from "./settings.ts";

export interface EvaluateOptions {
  readonly model: string;
  readonly samplesPerClass: number;
  readonly windows: readonly WindowOption[];
  /** Measure fixed windows with so many guesses ahead too; 0: do not. */
  readonly lookahead: number;
  /** Measure other surrogates, verification orders and tests too. */
  readonly variants: boolean;
  /** Default: all of the model's. */
  readonly classes?: readonly number[] | undefined;
  readonly seed: number;
  /** Results of settings that are done, and their pictures; what is found there is not done again. */
  readonly folder: string;
  readonly engine: Pick<EngineOptions, "device" | "dtype" | "maxImages" | "onProgress" | "logger">;
  readonly signal?: AbortSignal;
  readonly onProgress?: (setting: string, ...stage: Parameters<StageProgress>) => void;
  readonly onSetting?: (setting: string, outcome: "found" | "measured", wallMs: number) => void;
  /** For tests: another worker, and another judge than the checkpoint's own. */
  readonly worker?: WorkerSource;
  readonly judge?: Judge;
}

/** What an evaluation leaves: the report, and where each setting's pictures lie. */
export interface Evaluation {
  readonly report: EvalReport;
  readonly settings: readonly EvalSetting[];
  readonly pictureSets: readonly (string | undefined)[];
}

interface Run {
  readonly options: EvaluateOptions;
  readonly engine: Engine;
  readonly plan: SamplePlan;
  readonly store: ResultStore;
  readonly state: readonly string[];
}

/**
 * Measures what windows cost in fidelity. All settings share classes and seeds.
 * @throws ZiparError as `createEngine` and `Engine.generate`; `invalid-options` for a model without classes
 */
export async function evaluate(options: EvaluateOptions): Promise<Evaluation> {
  const model = options.worker === undefined ? resolveModelReference(options.model) : undefined;
  const judge = options.judge ?? (model?.type === "path" ? findJudge(model.path) : undefined);
  const engine = await createEngine({
    ...options.engine,
    model: options.model,
    maxQueue: Number.MAX_SAFE_INTEGER,
    worker: options.worker,
    signal: options.signal,
  });
  try {
    const plan = samplePlan(options, engine);
    const store = openResultStore(join(options.folder, "settings"));
    const state = model === undefined ? [] : checkpointState(model);
    const run: Run = { options, engine, plan, store, state };
    const settings = settingsOf(options, engine);
    const nextTokenGreedy = await nextTokenGreedyOf(run);
    const samples: SettingSamples[] = [];
    for (const setting of settings) samples.push(await measureSetting(run, setting, nextTokenGreedy));
    await engine.dispose(); // the judge needs the cores

    const pictureSets = settings.map((setting, k) =>
      samples[k]?.hasPictures
        ? store.picturesPath(settingName(setting), parametersOf(run, setting))
        : undefined,
    );
    const sets = pictureSets.filter((set) => set !== undefined);
    const judgement = sets.length === settings.length ? await judge?.(sets, options.signal) : undefined;
    const measured = settings.map(
      (setting, k): MeasuredSetting => ({
        setting,
        samples: samples[k] as SettingSamples,
        verdict: judgement?.sets[k],
      }),
    );
    const baseline = measured.find(({ setting }) => settingName(setting) === "full");
    return {
      settings,
      pictureSets,
      report: {
        model: options.model,
        samplesPerClass: options.samplesPerClass,
        classes: plan.classes,
        classNames: classNamesOf(engine, plan.classes),
        seed: options.seed,
        device: engine.device,
        dtype: engine.dtype,
        sampling: samplingOf(engine),
        settings: measured.map((one) => describeSetting(one, nextTokenGreedy, baseline)),
        ...describeBaselines(judgement),
      },
    };
  } finally {
    await engine.dispose();
  }
}

function samplePlan(
  { classes, samplesPerClass, seed, model }: EvaluateOptions,
  { card }: Engine,
): SamplePlan {
  if (card.conditioning.type !== "class") {
    throw new ZiparError({
      code: "invalid-options",
      message: `eval: ${model} has no classes; eval needs a class-conditional model`,
    });
  }
  const { classCount } = card.conditioning;
  const unknown = classes?.find((label) => label >= classCount);
  if (unknown !== undefined) {
    throw new ZiparError({
      code: "invalid-options",
      message: `eval: ${model} has no class ${unknown}; expected classes from 0 to ${classCount - 1}`,
    });
  }
  return {
    classes: classes ?? Array.from({ length: classCount }, (_, label) => label),
    samplesPerClass,
    seed,
  };
}

function settingsOf(
  { windows, lookahead, variants }: EvaluateOptions,
  { card }: Engine,
): readonly EvalSetting[] {
  return [
    ...windows.flatMap((window) => [plainSetting(window), ...lookaheadSettings(window, lookahead)]),
    ...(variants ? variantSettings(windows, card.rowEnd) : []),
  ];
}

/** The result of a setting, from the folder if it is there. */
async function measureSetting(
  run: Run,
  setting: EvalSetting,
  nextTokenGreedy: GreedyTokens,
): Promise<SettingSamples> {
  const { options, engine, plan, store } = run;
  const name = settingName(setting);
  const parameters = parametersOf(run, setting);
  const found = store.read(name, parameters);
  if (found !== undefined) {
    options.onSetting?.(name, "found", found.wallMs);
    return found;
  }
  const { samples, pictures } = await sampleSetting(
    engine,
    setting,
    plan,
    name === "full" ? nextTokenGreedy : undefined,
    (...stage) => options.onProgress?.(name, ...stage),
    options.signal,
  );
  if (pictures !== undefined) {
    const labels = samples.images.map(({ classIndex }) => classIndex);
    await writePictureSet(store.picturesPath(name, parameters), pictures, labels);
  }
  await store.write(name, parameters, samples);
  options.onSetting?.(name, "measured", samples.wallMs);
  return samples;
}

/** Next-token order at temperature 0, to compare with. */
async function nextTokenGreedyOf(run: Run): Promise<GreedyTokens> {
  const { options, engine, plan, store } = run;
  const setting = plainSetting("full");
  const name = "greedy-reference";
  const parameters = { ...parametersOf(run, setting), samplesPerClass: 0 };
  const found = store.read(name, parameters);
  if (found !== undefined) return found.greedyTokens;
  const startedAt = performance.now();
  const greedyTokens = await greedyTokensOf(
    engine,
    setting,
    plan,
    (...stage) => options.onProgress?.("next-token order", ...stage),
    options.signal,
  );
  const wallMs = Math.round(performance.now() - startedAt);
  await store.write(name, parameters, {
    wallMs,
    nextTokenForwards: 0,
    hasPictures: false,
    images: [],
    greedyTokens,
  });
  return greedyTokens;
}

/** Everything that a setting's result depends on. */
function parametersOf({ engine, plan, state }: Run, { options }: EvalSetting) {
  const { card, dtype } = engine;
  return {
    model: card.name,
    parameterCount: card.parameterCount,
    state,
    dtype,
    sampling: card.defaults,
    ...plan,
    options,
  };
}

function classNamesOf({ card }: Engine, classes: readonly number[]): readonly string[] | null {
  if (card.conditioning.type !== "class" || card.conditioning.classNames === null) return null;
  const { classNames } = card.conditioning;
  return classes.map((label) => classNames[label] as string);
}

function samplingOf({ card }: Engine): EvalReport["sampling"] {
  const { guidanceScale, temperature, topK, topP } = card.defaults;
  return { guidanceScale, temperature, topK, topP };
}
