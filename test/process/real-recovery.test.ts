import { afterAll, beforeAll, describe, expect, test } from "vitest";
import { createEngine, type Engine, type GenerateOptions } from "../../src/index.ts";
import { tinyCheckpoint } from "../support/tiny-checkpoints.ts";

describe("a PyTorch worker in float32 that is killed with SIGKILL", () => {
  let engine: Engine;

  beforeAll(async () => {
    engine = await createEngine({
      model: tinyCheckpoint("9x10"),
      device: "cpu",
      dtype: "float32",
      restarts: { max: 100, backoffMs: 0 },
    });
  });
  afterAll(() => engine?.dispose());

  async function generateKilling(requests: readonly GenerateOptions[], killAt: readonly number[]) {
    const left = [...killAt];
    const generations = requests.map((request) => engine.generate({ image: false, ...request }));
    const watched = generations.map(async (generation, k) => {
      for await (const event of generation) {
        if (k !== 0 || event.type !== "step" || event.forward !== left[0]) continue;
        left.shift();
        process.kill(engine.workerPid as number, "SIGKILL");
      }
    });
    await Promise.all(watched);
    return Promise.all(generations);
  }

  // Losses at every forward of every kind of image are tried on the stub (test/decode/recovery.test.ts).
  test("costs one image no token", async () => {
    const request = { classLabel: 2, window: 4, lookahead: 0, seed: 7 } as const;
    const expected = await engine.generate({ ...request, image: false });
    const { forwards } = expected.stats;
    const [result] = await generateKilling([request], [Math.ceil(forwards / 2)]);
    expect(result?.tokens).toEqual(expected.tokens);
    expect(result?.stats).toMatchObject({ forwards, restarts: 1 });
  });

  test("costs images of all kinds of windows in one batch no token, at its start, in its middle and near its end", async () => {
    const prefix = { tokens: [1, 2].map((code) => new Array<number>(10).fill(code)) };
    const windows: Pick<GenerateOptions, "window" | "lookahead" | "prefix">[] = [
      { window: "full", lookahead: 0 },
      { window: 3, lookahead: 0 },
      { window: 2, lookahead: 6 },
      { window: "full", lookahead: 9 },
      { window: { kind: "guessed", size: 2 } },
      { window: "adaptive" },
      { window: "full" },
      { window: 2, lookahead: 0, prefix },
    ];
    const requests = windows.map((window, k) => ({ ...window, classLabel: k, seed: 40 + k }));
    const expected = await Promise.all(
      requests.map((request) => engine.generate({ image: false, ...request })),
    );
    const middle = Math.ceil(Math.min(...expected.map(({ stats }) => stats.forwards)) / 2);
    const results = await generateKilling(requests, [2, middle, 85]);
    expect(results.map(({ tokens }) => tokens)).toEqual(expected.map(({ tokens }) => tokens));
    expect(results.map(({ stats }) => Math.min(stats.restarts, 2))).toEqual(results.map(() => 2));
    expect(results[0]?.stats).toMatchObject({ forwards: 90, restarts: 3 });
  });
});
