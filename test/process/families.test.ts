import { afterAll, beforeAll, describe, expect, test } from "vitest";
import { createEngine } from "../../src/index.ts";
import { nextTokenForwardCount } from "../../src/schedule/grid.ts";
import { type TinyCheckpoint, tinyCheckpoints } from "../support/tiny-checkpoint.ts";

// Each family from its official format to pixels, through the real worker; the tokens themselves are compared with
// the official implementations in python-worker/tests.
const FAMILIES: readonly (readonly [name: string, family: string, ...options: string[]])[] = [
  ["Emu3, original layout", "emu3", "--layout", "original", "--area", "4608"],
  ["Emu3, transformers' layout", "emu3", "--layout", "hf", "--area", "4608"],
  ["Lumina-mGPT", "lumina-mgpt", "--size", "128"],
  ["Janus-Pro, native layout", "janus", "--layout", "native", "--rows", "6"],
  ["Janus-Pro, transformers' layout", "janus", "--layout", "transformers", "--rows", "6"],
  ["LlamaGen, text to image", "llamagen", "--text", "--rows", "6", "--columns", "9"],
];

let checkpoints: readonly TinyCheckpoint[] = [];
beforeAll(async () => {
  checkpoints = await tinyCheckpoints(FAMILIES.map(([, ...options]) => [...options, "--seed", "3"]));
});
afterAll(() => {
  for (const checkpoint of checkpoints) checkpoint.remove();
});

describe("every size, in the number of forwards that the law says", () => {
  test.each(FAMILIES.map(([name, family], k) => [name, family, k] as const))("%s", async (_, family, k) => {
    await using engine = await createEngine({
      model: checkpoints[k]?.directory ?? "",
      device: "cpu",
      maxImages: 4,
      // The one family whose files do not say for which size they were trained.
      ...(family === "lumina-mgpt" ? { size: { width: 128, height: 128 } } : {}),
    });
    const { grids, rowEnd } = engine.card;
    for (const { rows, columns, width, height } of [grids[0], grids.at(-1)].filter(
      (grid) => grid !== undefined,
    )) {
      const generate = (
        window: number | "full" | "adaptive",
        guidanceScale: number,
        lookahead: number | "auto" = 0,
      ) =>
        engine.generate({
          prompt: "a red cube",
          size: { width, height },
          window,
          guidanceScale,
          lookahead,
          seed: 7,
        });
      const [full, three, two, adaptive] = await Promise.all([
        generate("full", 3),
        generate(3, 3),
        generate(2, 1),
        generate("adaptive", 3),
      ]);
      expect(full.stats.forwards).toBe(columns + (rows - 1) * columns);
      expect(three.stats.forwards).toBe(columns + (rows - 1) * 3);
      expect(two.stats.forwards).toBe(columns + (rows - 1) * 2);
      expect(adaptive.stats.forwards).toBeLessThanOrEqual(full.stats.forwards + rows);
      expect(full.stats.nextTokenForwards).toBe(nextTokenForwardCount({ rows, columns, rowEnd }));
      expect([full.image.width, full.image.height]).toEqual([width, height]);
      expect(new Set(full.image.pixels).size).toBeGreaterThan(10);
      expect(three.tokens).not.toEqual(full.tokens);
      const looking = await Promise.all([generate("full", 3, 12), generate(3, 3, "auto"), generate(2, 1, 5)]);
      expect(looking.map(({ tokens }) => tokens)).toEqual([full, three, two].map(({ tokens }) => tokens));
    }
  });
});
