import fc from "fast-check";
import { expect, test } from "vitest";
import { allCacheRows, allocateRows, canAllocateRows, freeRows } from "../../src/decode/cache-rows.ts";

test("a row is never held twice, the lowest free ones are taken, and freed ones come back", () => {
  const actions = fc.array(
    fc.record({ count: fc.integer({ min: 1, max: 3 }), frees: fc.boolean(), which: fc.nat(20) }),
    {
      maxLength: 60,
    },
  );
  fc.assert(
    fc.property(fc.integer({ min: 1, max: 12 }), actions, (rowCount, steps) => {
      let rows = allCacheRows(rowCount);
      const held: (readonly number[])[] = [];
      for (const { count, frees, which } of steps) {
        if (frees && held.length > 0) {
          const [freed] = held.splice(which % held.length, 1);
          rows = freeRows(rows, freed as readonly number[]);
        } else if (canAllocateRows(rows, count)) {
          const taken = new Set(held.flat());
          const lowest = Array.from({ length: rowCount }, (_, row) => row).filter((row) => !taken.has(row));
          const { rows: rest, allocated } = allocateRows(rows, count);
          expect(allocated).toEqual(lowest.slice(0, count));
          rows = rest;
          held.push(allocated);
        } else {
          expect(held.flat().length + count).toBeGreaterThan(rowCount);
          expect(() => allocateRows(rows, count)).toThrow(`${count} wanted`);
        }
        expect([...rows.free, ...held.flat()].sort((a, b) => a - b)).toEqual(
          Array.from({ length: rowCount }, (_, row) => row),
        );
      }
    }),
    { seed: 1 },
  );
});

test("freeing a free row is a broken invariant", () => {
  expect(() => freeRows(allCacheRows(2), [1])).toThrow("row 1 is free already");
});
