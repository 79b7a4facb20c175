import { join } from "node:path";
import { afterAll, beforeAll, describe, expect, test } from "vitest";
import { createEngine, type Engine } from "../../../src/index.ts";
import { runPython } from "../../support/python.ts";
import { tinyCheckpoint } from "../../support/tiny-checkpoints.ts";

type Tokens = readonly (readonly number[])[];
type BruteForce = Record<
  "1" | "2",
  { raster: Tokens; windows: Record<string, { forwards: number; tokens: Tokens }> }
>;

const CLASS = 3;
const WINDOWS = [1, 2, 3, 4, 5, 6, 7, 8];

describe("greedy tokens of a LlamaGen checkpoint equal those of an independent float64 implementation", () => {
  let engine: Engine;
  let expected: BruteForce;

  beforeAll(async () => {
    const checkpoint = tinyCheckpoint("8x8");
    const script = join(import.meta.dirname, "brute_force.py");
    const brute = runPython([script, checkpoint, "--class-index", String(CLASS), "--guidance", "1", "2"]);
    engine = await createEngine({ model: checkpoint, device: "cpu", dtype: "float32" });
    expected = JSON.parse(await brute);
  });
  afterAll(() => engine?.dispose());

  for (const guidance of ["1", "2"] as const) {
    const generate = (window: number | "full", lookahead: number) =>
      engine.generate({
        classLabel: CLASS,
        window,
        lookahead,
        temperature: 0,
        guidanceScale: Number(guidance),
        image: false,
      });

    test(`guidance ${guidance}: next-token order equals a loop without a cache`, async () => {
      for (const lookahead of [0, 1, 11])
        expect((await generate("full", lookahead)).tokens).toEqual(expected[guidance].raster);
    });

    test(`guidance ${guidance}: every window from 1 to W equals the rule taken word for word`, async () => {
      const results = await Promise.all(WINDOWS.map((window) => generate(window, 0)));
      const looking = await Promise.all(WINDOWS.map((window) => generate(window, 7)));
      for (const [k, window] of WINDOWS.entries()) {
        const brute = expected[guidance].windows[window];
        expect(results[k]?.tokens, `window ${window}`).toEqual(brute?.tokens);
        expect(results[k]?.stats.forwards).toBe(brute?.forwards);
        expect(looking[k]?.tokens, `window ${window} with guesses`).toEqual(brute?.tokens);
      }
    });
  }

  test("the reference agrees with itself at s = W, and windows and guidance matter, so that the tests can fail", () => {
    for (const { raster, windows } of Object.values(expected)) {
      expect(windows["8"]?.tokens).toEqual(raster);
      expect(windows["1"]?.tokens).not.toEqual(raster);
      expect(windows["4"]?.tokens).not.toEqual(raster);
    }
    expect(expected["1"].raster).not.toEqual(expected["2"].raster);
  });
});
