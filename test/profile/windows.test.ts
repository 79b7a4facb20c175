import { describe, expect, test } from "vitest";
import { addMasses, offsetMap, rowStartHeads } from "../../src/profile/mean-masses.ts";
import { describeLocality } from "../../src/profile/report.ts";
import {
  keptShares,
  quantile,
  rowWindows,
  smallestWindow,
  suggestedWindow,
} from "../../src/profile/windows.ts";

describe("the smallest window", () => {
  test("hides at most what the share allows", () => {
    const attention = { byColumn: [0.5, 0.2, 0.1, 0.05], total: 1 }; // 0.15 on higher rows, which count as complete
    expect(smallestWindow(attention, 0.95, false)).toBe(3);
    expect(smallestWindow(attention, 0.951, false)).toBe(4);
    expect(smallestWindow(attention, 0.85, false)).toBe(2);
    expect(smallestWindow(attention, 0.65, false)).toBe(1);
    expect(smallestWindow(attention, 1, false)).toBe(4);
  });

  test("is relative to the attention on the image, whatever the prompt gets", () => {
    expect(smallestWindow({ byColumn: [0.05, 0.04, 0.01], total: 0.1 }, 0.9, false)).toBe(2);
  });

  test("is 1 where the row above gets nothing, and at least 1 where all of it may be hidden", () => {
    expect(smallestWindow({ byColumn: [0, 0, 0], total: 0.7 }, 0.95, false)).toBe(1);
    expect(smallestWindow({ byColumn: [0, 0, 0], total: 0 }, 0.95, false)).toBe(1);
    expect(smallestWindow({ byColumn: [0.01, 0.01, 0.01], total: 1 }, 0.5, false)).toBe(1);
  });

  test("does not count the query's own slot where that is always seen", () => {
    const attention = { byColumn: [0.6, 0.02, 0.01, 0.37], total: 1 };
    expect(smallestWindow(attention, 0.95, false)).toBe(4);
    expect(smallestWindow(attention, 0.95, true)).toBe(1);
  });
});

test("what a window keeps is all but the row above from there on", () => {
  const kept = keptShares({ byColumn: [0.3, 0.2, 0.1], total: 0.8 });
  expect(kept.map((share) => share.toFixed(6))).toEqual(["0.625000", "0.875000", "1.000000"]);
  expect(keptShares({ byColumn: [0, 0], total: 0 })).toEqual([1, 1]);
});

test("quantiles are values that occur: the smallest that enough values do not exceed", () => {
  expect(quantile([4, 1, 3, 2], 0.5)).toBe(2);
  expect(quantile([4, 1, 3, 2], 0.9)).toBe(4);
  expect(
    quantile(
      Array.from({ length: 10 }, (_, k) => k + 1),
      0.9,
    ),
  ).toBe(9);
  expect(quantile([7], 0.01)).toBe(7);
});

test("a row has the windows of its heads and of their mean; an even spread is what no locality would give", () => {
  const narrow = { byColumn: [1, 0, 0, 0], total: 1 };
  const wide = { byColumn: [0, 0, 0, 1], total: 1 };
  const heads = [...new Array<typeof narrow>(9).fill(narrow), wide];
  expect(rowWindows(1, heads, 0.9, false)).toEqual({ row: 1, mean: 1, p50: 1, p90: 1, max: 4, even: 4 });
  // 10 rows of 4 cells: a tenth of the attention is the whole row above
  expect(rowWindows(10, heads, 0.9, false).even).toBe(1);
});

test("the suggestion is the median over rows of the 90 % quantile over heads", () => {
  const rows = [3, 9, 4].map((p90, k) => ({ row: k + 1, mean: 1, p50: 1, p90, max: 16, even: 1 }));
  expect(suggestedWindow(rows)).toBe(4);
  expect(suggestedWindow([])).toBe(1);
});

/** One layer of two heads on 2 x 2 tokens: the first head looks at the token before, the second straight up. */
const image = {
  layers: 1,
  heads: 2,
  rows: 2,
  columns: 2,
  mass: Float32Array.of(0.5, 0, 0, 0, 0, 0.25, 0, 0, 0, 0.25, 0.5, 0),
  otherMass: Float32Array.of(0.25, 0.25),
  rowStartMass: Float32Array.of(0, 0.75, 0.75, 0),
  rowStartTotal: Float32Array.of(0.75, 0.75),
};

test("masses of images are averaged", () => {
  const empty = { ...image, mass: new Float32Array(12), otherMass: Float32Array.of(1, 1) };
  const mean = addMasses(addMasses(undefined, image), empty);
  expect(mean.imageCount).toBe(2);
  expect([...mean.otherMass]).toEqual([0.625, 0.625]);
  expect(mean.mass[0]).toBe(0.25);
  expect(rowStartHeads(mean, 1).map(({ byColumn }) => [...(byColumn as Float64Array)])).toEqual([
    [0, 0.75],
    [0.75, 0],
  ]);
  expect(offsetMap(addMasses(undefined, image))).toEqual([
    [0.25, 0, 0],
    [0.125, 0.25, 0.125],
  ]);
});

test("a report tells heads apart and its shares add up", () => {
  const run = { model: "m", device: "cpu", dtype: "float32", seed: 1, windowQuantile: 0.95 };
  const report = describeLocality({ ...run, rowEnd: "none" }, addMasses(undefined, image));
  expect(report.perHead).toMatchObject([
    { layer: 0, head: 0, window: 2, previous: 0.5, above: 0, aboveRight: 0.25, other: 0.25 },
    { layer: 0, head: 1, window: 1, previous: 0, above: 0.5, aboveLeft: 0.25, other: 0.25 },
  ]);
  expect(report.windows).toEqual([{ row: 1, mean: 2, p50: 1, p90: 2, max: 2, even: 2 }]);
  expect(report.keptByWindow).toEqual([0.5, 1]);
  expect(report.windowsWithOwnSlotSeen).toMatchObject([{ p90: 1 }]);
  for (const shares of [report.shares, report.evenShares]) {
    expect(Object.values(shares).reduce((sum, share) => sum + share, 0)).toBeCloseTo(1, 12);
  }
  expect(
    describeLocality({ ...run, rowEnd: "token" }, addMasses(undefined, image)).windowsWithOwnSlotSeen,
  ).toBe(null);
});
