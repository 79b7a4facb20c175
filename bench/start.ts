/** How long `createEngine` takes until the model is ready, on the CPU, and what of it: `npm run bench -- --start`. */
import { execFileSync } from "node:child_process";
import { createEngine } from "#zipar/index";
import { median } from "./against/figures.ts";
import { python, pythonEnvironment, writeCheckpoint } from "./python.ts";

export interface StartFigures {
  readonly name: string;
  /** Medians, in ms. */
  readonly readyMs: number;
  /** Until the weights begin to be read: Node's part, Python, PyTorch, zipar. */
  readonly beforeWeightsMs: number;
  /** Of it, in a Python of their own: `import torch`, then zipar's worker. */
  readonly importTorchMs: number;
  readonly importZiparMs: number;
  /** From then to ready: the weights, their products' packing and the first trial of them. */
  readonly weightsMs: number;
  /** From ready to the first token of the first image. */
  readonly firstForwardMs: number;
}

const ROUNDS = 5;

type Start = Omit<StartFigures, "name">;

/** As the worker imports it: `make_torch_executor` of `zipar_worker/__main__.py`. */
const IMPORTS = `
import gc, json, time
gc.disable()
start = time.perf_counter()
import torch
middle = time.perf_counter()
from zipar_worker.execute.executor import TorchExecutor
print(json.dumps([1000 * (middle - start), 1000 * (time.perf_counter() - middle)]))
`;

export async function benchStart(): Promise<readonly StartFigures[]> {
  const emu3 = writeCheckpoint("tiny-emu3", ["emu3", "--seed", "1"]);
  const models = [
    { name: "demo", model: "demo", condition: { classLabel: 1 } },
    { name: "tiny Emu3", model: emu3, condition: { prompt: "a red cat" } },
  ];
  const starts = models.map((): Start[] => []);
  // The first start of each reads the files into memory and writes bytecode: it does not count.
  for (let round = 0; round <= ROUNDS; round++)
    for (const [at, { name, model, condition }] of models.entries()) {
      const start = await startOnce(model, condition);
      console.error(`bench: start ${round} of ${ROUNDS}, ${name}: ${Math.round(start.readyMs)} ms`);
      if (round > 0) starts[at]?.push(start);
    }
  return models.map(({ name }, at) => ({ name, ...medians(starts[at] as Start[]) }));
}

async function startOnce(
  model: string,
  condition: { classLabel: number } | { prompt: string },
): Promise<Start> {
  const [importTorchMs, importZiparMs] = JSON.parse(
    execFileSync(python, ["-c", IMPORTS], { encoding: "utf8", env: pythonEnvironment }),
  ) as [number, number];
  const startedAt = performance.now();
  let weightsAt: number | undefined;
  await using engine = await createEngine({
    model,
    device: "cpu",
    dtype: "float32",
    onProgress: () => {
      weightsAt ??= performance.now();
    },
  });
  const readyAt = performance.now();
  let firstAt: number | undefined;
  const image = engine.generate({ ...condition, seed: 1, image: false });
  for await (const { type } of image) if (type === "step") firstAt ??= performance.now();
  const beforeWeightsMs = (weightsAt ?? readyAt) - startedAt;
  const readyMs = readyAt - startedAt;
  return {
    readyMs,
    beforeWeightsMs,
    importTorchMs,
    importZiparMs,
    weightsMs: readyMs - beforeWeightsMs,
    firstForwardMs: (firstAt ?? readyAt) - readyAt,
  };
}

function medians(starts: readonly Start[]): Start {
  const of = (part: keyof Start) => median(starts.map((start) => start[part]));
  return {
    readyMs: of("readyMs"),
    beforeWeightsMs: of("beforeWeightsMs"),
    importTorchMs: of("importTorchMs"),
    importZiparMs: of("importZiparMs"),
    weightsMs: of("weightsMs"),
    firstForwardMs: of("firstForwardMs"),
  };
}

export function describeStart(figures: readonly StartFigures[]): readonly string[] {
  const cell = (ms: number, width: number) => (ms / 1000).toFixed(2).padStart(width);
  return [
    `createEngine until ready, warm, CPU, seconds, medians of ${ROUNDS}`,
    "  model          ready   before weights   (import torch   zipar)   weights   first forward",
    ...figures.map(
      (start) =>
        `  ${start.name.padEnd(12)}${cell(start.readyMs, 8)}${cell(start.beforeWeightsMs, 17)}` +
        `${cell(start.importTorchMs, 16)}${cell(start.importZiparMs, 9)}` +
        `${cell(start.weightsMs, 9)}${cell(start.firstForwardMs, 16)}`,
    ),
  ];
}
