/**
 * What several workers behind one engine bring, and what they cost the engine: `npm run bench -- --workers`.
 * Images a second of two workers with one thread each against one with two, and how many workers one Node process drives.
 */
import { setTimeout as sleep } from "node:timers/promises";
import type { EngineOptions } from "#zipar/api/engine-options";
import type { GenerateOptions } from "#zipar/api/generate-options";
import { createEngine, stubWorker, type WorkerSource } from "#zipar/index";

export interface WorkersFigures {
  readonly split: readonly SplitFigures[];
  readonly driven: readonly DrivenFigures[];
}

interface SplitFigures {
  readonly name: string;
  readonly window: NonNullable<GenerateOptions["window"]>;
  /** Images a second. */
  readonly oneWorker: number;
  readonly twoWorkers: number;
}

interface DrivenFigures {
  readonly workers: number;
  /** Of all workers together. */
  readonly stepsPerSecond: number;
  /** What they would be if the engine took no time. */
  readonly ideal: number;
  /** Share of the time in which Node's own thread was busy. */
  readonly nodeBusy: number;
}

const IMAGES = 8;
/** What a forward of the workers takes that stand for GPUs. */
const FORWARD_MS = 20;
const IMAGES_PER_WORKER = 4;
const SECONDS = 4;

export async function benchWorkers(
  models: readonly (readonly [name: string, options: EngineOptions, request: GenerateOptions])[],
): Promise<WorkersFigures> {
  const split: SplitFigures[] = [];
  for (const [name, options, request] of models)
    for (const window of ["full", 4] as const) {
      const oneWorker = await imagesPerSecond(options, { ...request, window }, 1);
      const twoWorkers = await imagesPerSecond(options, { ...request, window }, 2);
      split.push({ name, window, oneWorker, twoWorkers });
    }
  const driven: DrivenFigures[] = [];
  for (const workers of [1, 2, 4, 8, 16, 32]) driven.push(await drive(workers));
  return { split, driven };
}

/** The two cores belong to one worker, or one to each of two. */
async function imagesPerSecond(options: EngineOptions, request: GenerateOptions, workers: number) {
  process.env.OMP_NUM_THREADS = String(2 / workers);
  await using engine = await createEngine({ ...options, workers, maxImages: IMAGES / workers });
  const generate = (seed: number) =>
    engine.generate({ ...request, classLabel: 1 + (seed % 8), seed, lookahead: 0, image: false });
  await Promise.all(Array.from({ length: workers }, (_, seed) => generate(seed))); // warm-up
  const startedAt = performance.now();
  await Promise.all(Array.from({ length: IMAGES }, (_, seed) => generate(seed)));
  delete process.env.OMP_NUM_THREADS;
  return (1000 * IMAGES) / (performance.now() - startedAt);
}

/** Workers without a model: what is left is planning, committing and telling. */
async function drive(workers: number): Promise<DrivenFigures> {
  const stub = stubWorker({ rows: 48, columns: 48, reach: 1, codeCount: 64 });
  const worker: WorkerSource = {
    async open(options) {
      const opened = await stub.open(options);
      const forward = opened.forward.bind(opened);
      return Object.assign(opened, {
        forward: async (steps: Parameters<typeof forward>[0]) => {
          await sleep(FORWARD_MS);
          return forward(steps);
        },
      });
    },
  };
  await using engine = await createEngine({ worker, workers, maxImages: IMAGES_PER_WORKER });
  const stop = new AbortController();
  let steps = 0;
  const streams = Array.from({ length: workers * IMAGES_PER_WORKER }, async (_, k) => {
    for (let seed = k; !stop.signal.aborted; seed += 1000) {
      const events = engine.generate({
        classLabel: 1,
        seed,
        window: 8,
        lookahead: 0,
        image: false,
        signal: stop.signal,
      });
      for await (const { type } of events) if (type === "step") steps += 1;
    }
  });
  await sleep(500);
  const [before, usage, startedAt] = [steps, process.cpuUsage(), performance.now()];
  await sleep(1000 * SECONDS);
  const ms = performance.now() - startedAt;
  const stepsPerSecond = (1000 * (steps - before)) / ms;
  const { user, system } = process.cpuUsage(usage);
  stop.abort();
  await Promise.allSettled(streams);
  const ideal = (1000 / FORWARD_MS) * workers * IMAGES_PER_WORKER;
  return { workers, stepsPerSecond, ideal, nodeBusy: (user + system) / 1000 / ms };
}

export function describeWorkers({ split, driven }: WorkersFigures): readonly string[] {
  return [
    `Images a second, ${IMAGES} at once: one worker with two threads, two with one`,
    ...split.map(
      ({ name, window, oneWorker, twoWorkers }) =>
        `  ${name.padEnd(18)}${String(window).padEnd(6)}${oneWorker.toFixed(2).padStart(8)}` +
        `${twoWorkers.toFixed(2).padStart(8)}${(twoWorkers / oneWorker).toFixed(2).padStart(8)}x`,
    ),
    "",
    `Steps a second of one Node process, ${IMAGES_PER_WORKER} images a worker, ${FORWARD_MS} ms a forward`,
    "  workers    steps   of the ideal   Node busy",
    ...driven.map(
      ({ workers, stepsPerSecond, ideal, nodeBusy }) =>
        `  ${String(workers).padStart(7)}${stepsPerSecond.toFixed(0).padStart(9)}` +
        `${`${((100 * stepsPerSecond) / ideal).toFixed(0)} %`.padStart(15)}${`${(100 * nodeBusy).toFixed(0)} %`.padStart(12)}`,
    ),
  ];
}
