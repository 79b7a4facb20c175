import { expect, test } from "vitest";
import { RowCosts } from "../../src/decode/row-costs.ts";

test("the cost of a forward is that of others with about as many rows", () => {
  const costs = new RowCosts();
  expect(costs.of(6)).toBeUndefined();
  costs.record(7, 10);
  costs.record(12, 30);
  for (const [rows, ms] of [
    [6, 10],
    [7, 10],
    [8, 10],
    [12, 30],
    [16, 30],
  ] as const)
    expect(costs.of(rows), `${rows} rows`).toEqual({ ms, isMeasured: true });
  expect(costs.table()).toEqual([
    { rows: 8, ms: 10 },
    { rows: 16, ms: 30 },
  ]);
});

test("a cost that was not measured lies on the line through its neighbours, and beyond them goes on as they do", () => {
  const costs = new RowCosts();
  costs.record(8, 10);
  const expected = (rows: number) => costs.of(rows);
  expect([expected(2), expected(64)]).toEqual(new Array(2).fill({ ms: 10, isMeasured: false }));
  costs.record(32, 34);
  expect(expected(16)).toEqual({ ms: 18, isMeasured: false });
  expect(expected(64)).toEqual({ ms: 66, isMeasured: false });
  costs.record(64, 20); // a lucky one
  expect([32, 128].map(expected), "no forward takes longer than one of more rows").toEqual([
    { ms: 20, isMeasured: true },
    { ms: 20, isMeasured: false },
  ]);
});

test("one slow forward moves a cost a little, many move it for good", () => {
  const costs = new RowCosts();
  for (let k = 0; k < 10; k++) costs.record(2, 10);
  costs.record(2, 20);
  expect(costs.of(2)?.ms).toBeCloseTo(12);
  for (let k = 0; k < 30; k++) costs.record(2, 20);
  expect(costs.of(2)?.ms).toBeCloseTo(20, 1);
});

test("a cost that was measured long ago is not relied on, and one forward makes it known again", () => {
  const costs = new RowCosts();
  costs.record(64, 5);
  for (let k = 0; k < 300; k++) costs.record(2, 1);
  expect(costs.of(64)?.isMeasured).toBe(false);
  costs.record(64, 5);
  expect(costs.of(64)).toEqual({ ms: 5, isMeasured: true });
});
