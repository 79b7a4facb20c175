import { expect, test } from "vitest";
import { createEngine, type GenerateOptions } from "../../src/index.ts";
import { nextTokenForwardCount } from "../../src/schedule/grid.ts";
import { forcedDraws } from "../support/forced-draws.ts";
import { tinyCheckpoint } from "../support/tiny-checkpoints.ts";

// Each family from its official format to pixels, through the real worker; the tokens themselves are compared with
// the official implementations in python-worker/tests.
test.each([
  ["Emu3, original layout", "emu3-original"],
  ["Emu3, transformers' layout", "emu3-hf"],
  ["Emu3.5", "emu3-5"],
  ["Lumina-mGPT", "lumina-mgpt"],
  ["Lumina-mGPT 2.0", "lumina-mgpt-2"],
  ["Janus-Pro, native layout", "janus-native"],
  ["Janus-Pro, transformers' layout", "janus-transformers"],
  ["LlamaGen, text to image", "captions"],
  ["Liquid", "liquid"],
  ["Anole, Meta's layout", "anole-meta"],
  ["Anole, transformers' layout", "anole-hf"],
  ["STAR", "star"],
  ["SimpleAR", "simplear"],
] as const)("%s: every size, in the number of forwards that the law says", async (_, name) => {
  await using engine = await createEngine({
    model: tinyCheckpoint(name),
    device: "cpu",
    maxImages: 4,
    // The files of the one do not say for which size they were trained, the others take sizes of a user's own.
    ...(name === "lumina-mgpt" ? { size: { width: 128, height: 128 } } : {}),
    ...(name === "lumina-mgpt-2" ? { size: { width: 64, height: 64 } } : {}),
    ...(name === "star" || name === "simplear" ? { size: { width: 96, height: 96 } } : {}),
    ...(name === "emu3-5" ? { size: { width: 128, height: 96 } } : {}),
  });
  const { grids, rowEnd } = engine.card;
  let differing = 0; // a window that hides nothing that matters may give the same tokens by chance, but not always
  const firstAndLast = [...new Set([grids[0], grids.at(-1)])].filter((grid) => grid !== undefined);
  for (const { rows, columns, width, height } of firstAndLast) {
    const generate = (
      window: GenerateOptions["window"],
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
    if (three.tokens.join() !== full.tokens.join()) differing += 1;
    const guessed = await Promise.all([2, columns].map((size) => generate({ kind: "guessed", size }, 3)));
    expect(guessed[0]?.stats.forwards).toBeLessThanOrEqual(columns + (rows - 1) * 2);
    expect(guessed[1]?.tokens).toEqual(full.tokens);
    const looking = await Promise.all([generate("full", 3, 12), generate(3, 3, "auto"), generate(2, 1, 5)]);
    expect(looking.map(({ tokens }) => tokens)).toEqual([full, three, two].map(({ tokens }) => tokens));
    if (width !== grids[0]?.width || height !== grids[0].height) continue;

    // The first rows of another seed's picture are gone on from as the model goes on from them in next-token order.
    const count = Math.ceil(rows / 3);
    const prefix = { tokens: full.tokens.slice(0, count) };
    const goOn = (window: GenerateOptions["window"], lookahead: number, seed: number) =>
      engine.generate({
        prompt: "a red cube",
        size: { width, height },
        prefix,
        window,
        lookahead,
        seed,
        guidanceScale: 3,
      });
    const [again, other, ahead, early, earlyAhead, wide] = await Promise.all([
      goOn("full", 0, 7),
      goOn("full", 0, 8),
      goOn("full", 9, 8),
      goOn(3, 0, 8),
      goOn(3, 5, 8),
      goOn({ kind: "guessed", size: columns }, 0, 8),
    ]);
    const left = rows - count;
    expect(again.tokens).toEqual(full.tokens);
    expect(other.tokens.slice(0, count)).toEqual(prefix.tokens);
    const drawn = await forcedDraws(engine, { rows, columns, rowEnd }, other.tokens.flat(), {
      prompt: "a red cube",
      guidanceScale: 3,
      seed: 8,
    });
    expect(drawn.slice(count * columns)).toEqual(other.tokens.slice(count).flat());
    expect([ahead.tokens, wide.tokens]).toEqual([other.tokens, other.tokens]);
    expect(earlyAhead.tokens).toEqual(early.tokens);
    expect(other.stats.forwards).toBe(left * columns);
    expect(early.stats.forwards).toBe(columns + (left - 1) * 3);
  }
  expect(differing).toBeGreaterThan(0);
});
