/**
 * What every kind of window costs a checkpoint in time, alone and in batches: `npm run bench -- --model`. All settings
 * take turns, so that a busy moment of the machine falls on each of them.
 */
import type { EngineOptions } from "#zipar/api/engine-options";
import type { GenerateOptions } from "#zipar/api/generate-options";
import { createEngine, type Engine } from "#zipar/index";
import { quantile } from "#zipar/profile/windows";

export interface SettingFigures {
  readonly name: string;
  /** Of an image: mean over those that were decoded alone. */
  readonly forwards: number;
  readonly msPerForward: number;
  /** Of an image's time, that in which the worker computes. */
  readonly workerShare: number;
  readonly secondsAlone: number;
  /** Of an image among `BATCH` that were begun together; undefined where that was not asked for. */
  readonly secondsInBatch: number | undefined;
}

export const BATCH = 8;
/** Images that each setting decodes alone. */
const ROUNDS = 3;

const SETTINGS: readonly (readonly [name: string, options: Pick<GenerateOptions, "window" | "lookahead">])[] =
  [
    ["full", { window: "full", lookahead: 0 }],
    ["full, lookahead", { window: "full" }],
    ["8", { window: 8, lookahead: 0 }],
    ["8, lookahead", { window: 8 }],
    ["4", { window: 4, lookahead: 0 }],
    ["4, lookahead", { window: 4 }],
    ["2", { window: 2, lookahead: 0 }],
    ["2, lookahead", { window: 2 }],
    ["guessed:8", { window: { kind: "guessed", size: 8 } }],
    ["guessed:4", { window: { kind: "guessed", size: 4 } }],
    ["guessed:2", { window: { kind: "guessed", size: 2 } }],
    ["guessed:1", { window: { kind: "guessed", size: 1 } }],
    ["adaptive:4", { window: { kind: "adaptive", min: 4 } }],
  ];

interface Run {
  readonly forwards: number;
  readonly wallMs: number;
  readonly workerMs: number;
}

/**
 * @param request what all images share; image k has class and seed k
 * @param isBatched whether a setting is measured in a batch too
 */
export async function benchSettings(
  options: EngineOptions,
  request: GenerateOptions,
  isBatched: (name: string) => boolean,
): Promise<readonly SettingFigures[]> {
  await using engine = await createEngine({ ...options, maxImages: BATCH });
  await engine.generate({ ...request, classLabel: 1, window: 4, image: false }); // warm-up
  const alone = SETTINGS.map((): Run[] => []);
  const batchMs = new Map<string, number>();
  for (let seed = 1; seed <= ROUNDS; seed++)
    for (const [at, [name, setting]] of SETTINGS.entries()) {
      const run = await runAlone(engine, { ...request, ...setting, classLabel: seed, seed });
      alone[at]?.push(run);
      console.error(`bench: image ${seed} of ${ROUNDS}, window ${name}: ${Math.round(run.wallMs)} ms`);
    }
  for (const [name, setting] of SETTINGS.filter(([name]) => isBatched(name))) {
    batchMs.set(name, await runBatch(engine, { ...request, ...setting }));
    console.error(`bench: ${BATCH} images, window ${name}: ${Math.round(batchMs.get(name) ?? 0)} ms`);
  }
  return SETTINGS.map(([name], at) => {
    const runs = alone[at] as Run[];
    const ms = quantile(
      runs.map(({ wallMs }) => wallMs),
      0.5,
    );
    const forwards = sum(runs.map((run) => run.forwards));
    const wallMs = sum(runs.map((run) => run.wallMs));
    const together = batchMs.get(name);
    return {
      name,
      forwards: forwards / ROUNDS,
      msPerForward: wallMs / forwards,
      workerShare: sum(runs.map(({ workerMs }) => workerMs)) / wallMs,
      secondsAlone: ms / 1000,
      secondsInBatch: together === undefined ? undefined : together / 1000 / BATCH,
    };
  });
}

async function runAlone(engine: Engine, request: GenerateOptions): Promise<Run> {
  const before = await engine.workerStats();
  const { stats } = await engine.generate({ ...request, image: false });
  const after = await engine.workerStats();
  return { ...stats, workerMs: after.forwardMs - before.forwardMs };
}

async function runBatch(engine: Engine, request: GenerateOptions): Promise<number> {
  const startedAt = performance.now();
  await Promise.all(
    Array.from({ length: BATCH }, (_, k) =>
      engine.generate({ ...request, classLabel: k + 1, seed: k + 1, image: false }),
    ),
  );
  return performance.now() - startedAt;
}

export function describeSettings(settings: readonly SettingFigures[]): readonly string[] {
  const [full] = settings as [SettingFigures];
  const times = (a = 0, b?: number) =>
    `${(b?.toFixed(2) ?? "-").padStart(16)}${(b === undefined ? "-" : `${(a / b).toFixed(2)}x`).padStart(8)}`;
  return [
    `  ${"window".padEnd(18)}forwards   ms/forward   s/image alone  faster    s/image of ${BATCH}  faster`,
    ...settings.map(
      (s) =>
        `  ${s.name.padEnd(18)}${s.forwards.toFixed(1).padStart(8)}${s.msPerForward.toFixed(1).padStart(13)}` +
        times(full.secondsAlone, s.secondsAlone) +
        times(full.secondsInBatch, s.secondsInBatch),
    ),
  ];
}

function sum(values: readonly number[]): number {
  return values.reduce((total, value) => total + value, 0);
}
