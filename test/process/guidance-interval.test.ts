import { afterAll, beforeAll, expect, test } from "vitest";
import { createEngine, type Engine, type GenerateOptions, pythonWorker } from "../../src/index.ts";
import { type GuidanceWorker, guidanceWorker } from "../support/guidance-worker.ts";
import { tinyCheckpoint } from "../support/tiny-checkpoints.ts";

const ROWS = 6;
const COLUMNS = 8;

let worker: GuidanceWorker;
let engine: Engine;
beforeAll(async () => {
  worker = guidanceWorker(pythonWorker(), 2);
  engine = await createEngine({
    model: tinyCheckpoint(`${ROWS}x${COLUMNS}`),
    device: "cpu",
    worker: worker.source,
    maxImages: 2,
  });
});
afterAll(() => engine?.dispose());

const request = { classLabel: 2, temperature: 0, guidanceScale: 6, lookahead: 0, image: false } as const;

async function tokensOf(options: GenerateOptions, runsAll: boolean) {
  worker.runsAll = runsAll;
  worker.forwards.length = 0;
  const { tokens } = await engine.generate({ ...request, ...options });
  return {
    tokens,
    batchRows: worker.forwards.flat().reduce((count, { branches }) => count + branches.length, 0),
  };
}

test.each<[string, GenerateOptions]>([
  ["from the start", { window: 3, guidanceInterval: [0, 0.4] }],
  ["in the middle", { window: 3, guidanceInterval: [0.25, 0.7] }],
  ["to the end", { window: 2, guidanceInterval: [0.5, 1] }],
  ["in next-token order", { window: "full", guidanceInterval: [0.3, 0.8] }],
  ["with an adaptive window", { window: { kind: "adaptive", min: 1 }, guidanceInterval: [0.3, 0.8] }],
])(
  "guidance %s alone gives the tokens of branches that run all along, with fewer batch rows",
  async (_, options) => {
    const dropped = await tokensOf(options, false);
    const full = await tokensOf(options, true);
    expect(dropped.tokens).toEqual(full.tokens);
    const always = await tokensOf({ ...options, guidanceInterval: [0, 1] }, false);
    expect(dropped.batchRows).toBeLessThan(always.batchRows);
    expect((await tokensOf({ ...options, lookahead: 9 }, false)).tokens).toEqual(full.tokens);
    expect(dropped.tokens, "the interval matters to these weights").not.toEqual(always.tokens);
  },
);
