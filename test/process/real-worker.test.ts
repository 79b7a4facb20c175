import { afterAll, beforeAll, describe, expect, test } from "vitest";
import { createEngine, type Engine, type GenerateOptions } from "../../src/index.ts";
import { silentLogger } from "../../src/logger.ts";
import { randomKey, uniform } from "../../src/schedule/random.ts";
import { tinyCheckpoint } from "../support/tiny-checkpoints.ts";

type Tokens = readonly (readonly number[])[];

const ROWS = 6;
const COLUMNS = 8;

describe("the PyTorch worker on a tiny LlamaGen checkpoint", () => {
  let engine: Engine;
  const warnings: string[] = [];

  beforeAll(async () => {
    engine = await createEngine({
      model: tinyCheckpoint(`${ROWS}x${COLUMNS}`),
      device: "cpu",
      dtype: "float32",
      cudaGraphs: true,
      logger: { ...silentLogger, warn: (message) => void warnings.push(message) },
      maxImages: 4,
    });
  });
  afterAll(() => engine?.dispose());

  const tokensOf = async (options: GenerateOptions): Promise<Tokens> =>
    (await engine.generate({ image: false, ...options })).tokens;

  test("says what it is", () => {
    expect(engine.card).toMatchObject({ family: "llamagen", codeCount: 64, rowEnd: "none" });
    expect(engine.card.grids[0]).toMatchObject({ rows: ROWS, columns: COLUMNS });
    expect([engine.device, engine.dtype]).toEqual(["cpu", "float32"]);
    expect(engine.workerPid).toBeGreaterThan(0);
  });

  test("has no CUDA graphs on a CPU, and says so", () => {
    expect(warnings).toEqual([
      "cudaGraphs does nothing here: the model runs on cpu, which has no such graphs.",
    ]);
  });

  test("makes a picture of the size that the card promises, with previews on the way", async () => {
    const events: string[] = [];
    const generation = engine.generate({ classLabel: 1, window: 2, seed: 1, partialImages: 2 });
    for await (const event of generation) if (event.type !== "step") events.push(event.type);
    const { image } = await generation;
    expect(events).toEqual(["partial-image", "partial-image", "image"]);
    expect([image.width, image.height]).toEqual([engine.card.grids[0]?.width, engine.card.grids[0]?.height]);
    expect(new Set(image.pixels).size).toBeGreaterThan(10);
  });

  test("full is the window W, token for token, greedy and drawn", async () => {
    for (const sampling of [{ temperature: 0 }, { temperature: 1, topK: 20, topP: 0.9 }]) {
      const options = { classLabel: 2, seed: 4, guidanceScale: 2, ...sampling };
      const [full, widest, other] = await Promise.all(
        (["full", COLUMNS, 2] as const).map((window) => tokensOf({ ...options, window })),
      );
      expect(full).toEqual(widest);
      expect(await tokensOf({ ...options, window: { kind: "guessed", size: COLUMNS } })).toEqual(full);
      expect(other).not.toEqual(full);
    }
  });

  test("the adaptive window with min = W is the window W", async () => {
    const options = { classLabel: 2, seed: 4 } as const;
    const full = await tokensOf({ ...options, window: "full" });
    for (const test of ["rejection", "coupled"] as const) {
      expect(await tokensOf({ ...options, window: { kind: "adaptive", min: COLUMNS, test } })).toEqual(full);
    }
  });

  test("the greedy adaptive window accepts and rejects, and stays between its floor and next-token order", async () => {
    const min = 1;
    const { adaptive, stats } = await engine.generate({
      classLabel: 2,
      temperature: 0,
      window: { kind: "adaptive", min },
      image: false,
    });
    expect(adaptive?.openedAt).toHaveLength(ROWS - 1);
    expect(adaptive?.rejectedCount).toBeGreaterThan(0);
    expect(stats.forwards).toBeGreaterThanOrEqual(COLUMNS + (ROWS - 1) * min);
    expect(stats.forwards).toBeLessThanOrEqual(ROWS * COLUMNS);
  });

  test("every window from 1 to W takes W + (H - 1) * s forwards", async () => {
    const windows = Array.from({ length: COLUMNS }, (_, k) => k + 1);
    const results = await Promise.all(
      windows.map((window) => engine.generate({ classLabel: 0, window, lookahead: 0, image: false })),
    );
    expect(results.map(({ stats }) => stats.forwards)).toEqual(
      windows.map((window) => COLUMNS + (ROWS - 1) * window),
    );
  });

  test("an image is the same alone and in any company, with joins, leaves and cancellations at random forwards", async () => {
    const windows: GenerateOptions["window"][] = [
      1,
      3,
      "full",
      { kind: "adaptive", min: 1 },
      2,
      5,
      "adaptive",
      4,
      { kind: "guessed", size: 2 },
    ];
    const requests = windows.map(
      (window, k): GenerateOptions => ({
        classLabel: k,
        window,
        temperature: 0,
        guidanceScale: k % 3 === 0 ? 1 : 1 + k / 2,
      }),
    );
    const alone: Tokens[] = [];
    for (const request of requests) alone.push(await tokensOf(request));

    const random = (k: number, what: 0 | 1) => uniform(randomKey(11), k, what, 0);
    const company = requests.map(async (request, k) => {
      await new Promise((resolve) => setTimeout(resolve, 60 * random(k, 0)));
      const abort = new AbortController();
      const cancelAt = k % 4 === 1 ? 1 + Math.floor(12 * random(k, 1)) : undefined;
      const generation = engine.generate({ ...request, image: false, signal: abort.signal });
      try {
        for await (const event of generation) {
          if (event.type === "step" && event.forward === cancelAt) abort.abort();
        }
        return (await generation).tokens;
      } catch (error) {
        expect(error).toMatchObject({ code: "cancelled" });
        return "cancelled";
      }
    });
    const together = await Promise.all(company);
    for (const [k, outcome] of together.entries()) {
      if (k % 4 === 1) expect(outcome).toBe("cancelled");
      else expect(outcome, `request ${k}`).toEqual(alone[k]);
    }
  });
});

test("a 90 x 90 grid at window 7 takes exactly 713 forwards", async () => {
  await using engine = await createEngine({
    model: tinyCheckpoint("90x90"),
    device: "cpu",
    dtype: "float32",
    maxImages: 1,
  });
  const { stats, tokens } = await engine.generate({
    classLabel: 1,
    window: 7,
    lookahead: 0,
    guidanceScale: 1,
    seed: 1,
    image: false,
  });
  expect(stats).toMatchObject({ forwards: 713, tokens: 8100, nextTokenForwards: 8100 });
  expect(tokens.flat()).toHaveLength(8100);
});
