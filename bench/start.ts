/** How long `createEngine` takes until the model is ready, on the CPU, and what of it: `npm run bench -- --start`. */
import { execFileSync } from "node:child_process";
import { createEngine, type Engine } from "#zipar/index";
import { median } from "./against/figures.ts";
import { python, pythonEnvironment, writeCheckpoint } from "./python.ts";

export interface StartFigures {
  /** Medians, in ms: in a Python of its own, `import torch`, then zipar's worker. */
  readonly importTorchMs: number;
  readonly importZiparMs: number;
  readonly models: readonly ModelStart[];
}

interface ModelStart {
  readonly name: string;
  /** Medians, in ms. */
  readonly readyMs: number;
  /** Until the weights begin to be read: Node's part, Python, PyTorch, zipar. */
  readonly beforeWeightsMs: number;
  /** From then to ready: the weights, their products' packing and the first trial of them. */
  readonly weightsMs: number;
  /** From ready to the first token of the first image. */
  readonly firstForwardMs: number;
}

const ROUNDS = 5;

type Condition = { readonly classLabel: number } | { readonly prompt: string };
type Start = Omit<ModelStart, "name">;

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

export async function benchStart(): Promise<StartFigures> {
  const emu3 = writeCheckpoint("tiny-emu3", ["emu3", "--seed", "1"]);
  const models = [
    { name: "demo", model: "demo", condition: { classLabel: 1 } },
    { name: "tiny Emu3", model: emu3, condition: { prompt: "a red cat" } },
  ];
  const imports: (readonly [torch: number, zipar: number])[] = [];
  const starts = models.map((): Start[] => []);
  // The first start of each reads the files into memory and writes bytecode: it does not count.
  for (let round = 0; round <= ROUNDS; round++) {
    const importMs = timeImports();
    if (round > 0) imports.push(importMs);
    for (const [at, { name, model, condition }] of models.entries()) {
      const start = await startOnce(model, condition);
      console.error(`bench: start ${round} of ${ROUNDS}, ${name}: ${Math.round(start.readyMs)} ms`);
      if (round > 0) starts[at]?.push(start);
    }
  }
  return {
    importTorchMs: median(imports.map(([torch]) => torch)),
    importZiparMs: median(imports.map(([, zipar]) => zipar)),
    models: models.map(({ name }, at) => ({ name, ...medians(starts[at] as Start[]) })),
  };
}

function timeImports(): readonly [torch: number, zipar: number] {
  return JSON.parse(execFileSync(python, ["-c", IMPORTS], { encoding: "utf8", env: pythonEnvironment }));
}

async function startOnce(model: string, condition: Condition): Promise<Start> {
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
  const beforeWeightsMs = (weightsAt ?? readyAt) - startedAt;
  const readyMs = readyAt - startedAt;
  return {
    readyMs,
    beforeWeightsMs,
    weightsMs: readyMs - beforeWeightsMs,
    firstForwardMs: (await firstStepAt(engine, condition)) - readyAt,
  };
}

/** Makes no more of the image. */
async function firstStepAt(engine: Engine, condition: Condition): Promise<number> {
  const leaving = new AbortController();
  const image = engine.generate({ ...condition, seed: 1, image: false, signal: leaving.signal });
  let firstAt = Number.NaN;
  try {
    for await (const { type } of image) {
      if (type !== "step" || leaving.signal.aborted) continue;
      firstAt = performance.now();
      leaving.abort();
    }
  } catch (error) {
    if (!leaving.signal.aborted) throw error;
  }
  return firstAt;
}

function medians(starts: readonly Start[]): Start {
  const of = (part: keyof Start) => median(starts.map((start) => start[part]));
  return {
    readyMs: of("readyMs"),
    beforeWeightsMs: of("beforeWeightsMs"),
    weightsMs: of("weightsMs"),
    firstForwardMs: of("firstForwardMs"),
  };
}

export function describeStart({ importTorchMs, importZiparMs, models }: StartFigures): readonly string[] {
  const seconds = (ms: number, width = 0) => (ms / 1000).toFixed(2).padStart(width);
  return [
    `createEngine until ready, warm, CPU, seconds, medians of ${ROUNDS}`,
    `  in a Python of its own, import torch takes ${seconds(importTorchMs)}, then zipar's worker ${seconds(importZiparMs)}`,
    "                  ready   before weights   weights   first forward",
    ...models.map(
      ({ name, readyMs, beforeWeightsMs, weightsMs, firstForwardMs }) =>
        `  ${name.padEnd(12)}${seconds(readyMs, 9)}${seconds(beforeWeightsMs, 17)}` +
        `${seconds(weightsMs, 10)}${seconds(firstForwardMs, 16)}`,
    ),
  ];
}
