import { expect, test } from "vitest";
import { RowCosts } from "../../src/decode/row-costs.ts";

test("the cost of a forward is that of others with about as many rows", () => {
  const costs = new RowCosts();
  expect(costs.of(6)).toBeUndefined();
  costs.record(7, 10);
  costs.record(12, 30);
  expect([6, 7, 8, 12, 16].map((rows) => costs.of(rows))).toEqual([10, 10, 10, 30, 30]);
  expect([5, 9, 11, 17].map((rows) => costs.of(rows))).toEqual([undefined, undefined, undefined, undefined]);
  expect(costs.table()).toEqual([
    { rows: 8, ms: 10 },
    { rows: 16, ms: 30 },
  ]);
});

test("one slow forward moves a cost a little, many move it for good", () => {
  const costs = new RowCosts();
  for (let k = 0; k < 10; k++) costs.record(2, 10);
  costs.record(2, 20);
  expect(costs.of(2)).toBeCloseTo(12);
  for (let k = 0; k < 30; k++) costs.record(2, 20);
  expect(costs.of(2)).toBeCloseTo(20, 1);
});

test("a cost that was measured long ago is not relied on, and one forward makes it known again", () => {
  const costs = new RowCosts();
  costs.record(64, 5);
  for (let k = 0; k < 300; k++) costs.record(2, 1);
  expect(costs.of(64)).toBeUndefined();
  costs.record(64, 5);
  expect(costs.of(64)).toBe(5);
});
