import fc from "fast-check";
import { describe, expect, test } from "vitest";
import { type CardGrid, type ImageSize, ratioName, resolveCardGrid } from "../../src/api/image-size.ts";
import type { ModelCard } from "../../src/protocol/messages.ts";
import { ziparErrorOf } from "../support/errors.ts";

const cardOf = (grids: readonly CardGrid[]) => ({ name: "a model", grids: [...grids] }) as ModelCard;

/** Grids as the official code of Emu3-Gen makes them: rows, columns by the name of the ratio. */
const EMU3: Readonly<Record<string, readonly [number, number]>> = {
  "1:1": [90, 90],
  "16:9": [68, 120],
  "9:16": [120, 68],
  "4:3": [78, 104],
  "3:4": [104, 78],
  "3:2": [73, 110],
  "2:3": [110, 73],
  "21:9": [59, 137],
};
const emu3 = cardOf(
  Object.values(EMU3).map(([rows, columns]) => ({ rows, columns, width: columns * 8, height: rows * 8 })),
);

/** Every width and height in 32 pixels whose area is at most a square's, as Lumina-mGPT has them. */
function luminaGrids(square: number): CardGrid[] {
  const most = (square / 32) ** 2;
  const grids: CardGrid[] = [];
  for (let columns = Math.floor(most); columns > 0; columns--) {
    const rows = Math.floor(most / columns);
    if (Math.max(columns / rows, rows / columns) > 4) continue;
    grids.push({ rows: rows * 2, columns: columns * 2, width: columns * 32, height: rows * 32 });
  }
  return grids;
}

describe("the ratios of Emu3", () => {
  test.each(Object.entries(EMU3))("%s is its own grid, and is called so", (name, [rows, columns]) => {
    expect(resolveCardGrid(name as ImageSize, emu3)).toMatchObject({ rows, columns });
    expect(ratioName({ width: columns * 8, height: rows * 8 })).toBe(name);
  });
});

test("without a size it is the card's first grid", () => {
  expect(resolveCardGrid(undefined, emu3)).toBe(emu3.grids[0]);
});

test("a size in pixels must be exact", async () => {
  expect(resolveCardGrid({ width: 960, height: 544 }, emu3)).toMatchObject({ rows: 68, columns: 120 });
  const error = await ziparErrorOf(() => resolveCardGrid({ width: 960, height: 540 }, emu3));
  expect(error.code).toBe("invalid-options");
  expect(error.message).toContain("960x540");
  for (const { width, height } of emu3.grids) expect(error.message).toContain(`${width}x${height} (`);
});

test("a ratio is met by the nearest grid within 3 %, and by none beyond", async () => {
  expect(resolveCardGrid("1.78:1", emu3)).toMatchObject({ columns: 120 });
  expect(resolveCardGrid("1.03:1", emu3)).toMatchObject({ columns: 90 });
  const error = await ziparErrorOf(() => resolveCardGrid("1.04:1", emu3));
  expect(error.message).toContain("ratio 1.04:1");
  expect(error.message).toContain("960x544 (16:9)");
});

test("the nearest grid is that of the smallest factor between the ratios", () => {
  const ratios = fc.tuple(fc.integer({ min: 1, max: 64 }), fc.integer({ min: 1, max: 64 }));
  const card = cardOf(luminaGrids(768));
  const distance = (a: number, b: number) => Math.max(a / b, b / a);
  fc.assert(
    fc.property(ratios, ([width, height]) => {
      const best = Math.min(...card.grids.map((grid) => distance(grid.width / grid.height, width / height)));
      if (best > 1.03) {
        expect(() => resolveCardGrid(`${width}:${height}`, card)).toThrow(/does not know the ratio/);
        return;
      }
      const { width: w, height: h } = resolveCardGrid(`${width}:${height}`, card);
      expect(distance(w / h, width / height)).toBeCloseTo(best, 10);
    }),
  );
});

test("of grids of one shape a ratio means the largest", () => {
  const small = { rows: 8, columns: 16, width: 256, height: 128 };
  const large = { rows: 16, columns: 32, width: 512, height: 256 };
  expect(resolveCardGrid("2:1", cardOf([small, large]))).toBe(large);
  expect(resolveCardGrid("2:1", cardOf([large, small]))).toBe(large);
});

test("where a model knows many sizes, the message names the nearest and says how many there are", async () => {
  const card = cardOf(luminaGrids(1024));
  expect(card.grids.length).toBeGreaterThan(16);
  const { message, details } = await ziparErrorOf(() => resolveCardGrid({ width: 1000, height: 1000 }, card));
  expect(message).toContain(`one of its ${card.grids.length} sizes`);
  expect(message).toContain("1024x1024 (1:1)");
  expect(message).toContain("zipar info");
  expect(message.length).toBeLessThan(400);
  expect(details.sizes).toHaveLength(card.grids.length);
});

test("a shape without a usual name is called by its sides in lowest terms", () => {
  expect(ratioName({ width: 1600, height: 960 })).toBe("5:3");
  expect(ratioName({ width: 512, height: 512 })).toBe("1:1");
});
