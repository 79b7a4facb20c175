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
  test.each([
    [2, 0, "at its start", 0.01],
    [4, 0, "in its middle", 0.5],
    ["adaptive", 0, "near its end", 0.95],
    [2, 6, "in its middle", 0.5],
    ["full", 9, "near its end", 0.95],
  ] as const)(
    "costs one image with window %s and lookahead %i no token when it is killed %s",
    async (window, lookahead, _, share) => {
      const request = { classLabel: 2, window, lookahead, seed: 7 };
      const expected = await engine.generate({ ...request, image: false });
      const { forwards } = expected.stats;
      const [result] = await generateKilling([request], [Math.ceil(share * forwards)]);
      expect(result?.tokens).toEqual(expected.tokens);
      expect(result?.stats).toMatchObject({ forwards, restarts: 1 });
    },
  );

  test("costs several images of different windows in one batch no token", async () => {
    const requests = ([3, "full", "adaptive", 8] as const).map((window, k) => ({
      classLabel: 3 * k,
      window,
      seed: 40 + k,
    }));
    const expected = await Promise.all(
      requests.map((request) => engine.generate({ image: false, ...request })),
    );
    const results = await generateKilling(requests, [9, 25]);
    expect(results.map(({ tokens }) => tokens)).toEqual(expected.map(({ tokens }) => tokens));
    expect(results.map(({ stats }) => stats.restarts)).toEqual([2, 2, 2, 2]);
  });
});
