import fc from "fast-check";
import { expect, test } from "vitest";
import { cellSlot, rowLastSlot, slotCount, type TokenGrid } from "../../src/schedule/grid.ts";
import { nothingWritten, type WrittenSlots, writtenRuns } from "../../src/schedule/written-slots.ts";
import { runs } from "../support/property-runs.ts";

interface Case {
  readonly grid: TokenGrid;
  readonly promptLength: number;
  readonly written: WrittenSlots;
}

/** States as a run can reach them: row counts that never grow downwards, row ends only of rows that have started. */
const cases: fc.Arbitrary<Case> = fc
  .record({
    columns: fc.integer({ min: 1, max: 9 }),
    rowEnd: fc.constantFrom("none" as const, "token" as const),
    promptLength: fc.integer({ min: 1, max: 5 }),
    counts: fc.array(fc.nat(9), { minLength: 1, maxLength: 9 }),
    ends: fc.array(fc.boolean(), { minLength: 9, maxLength: 9 }),
  })
  .map(({ columns, rowEnd, promptLength, counts, ends }) => {
    const cellCounts = Int32Array.from(counts, (count) => Math.min(count, columns))
      .sort()
      .reverse();
    const rowEnds = Uint8Array.from(cellCounts, (count, row) => (count > 0 && ends[row] ? 1 : 0));
    const grid = { rows: cellCounts.length, columns, rowEnd };
    return { grid, promptLength, written: { prompt: true, cellCounts, rowEnds } };
  });

function naiveSlots({ grid, promptLength, written }: Case): number[] {
  const slots = new Set<number>(Array.from({ length: promptLength }, (_, slot) => slot));
  for (let row = 0; row < grid.rows; row++) {
    for (let column = 0; column < (written.cellCounts[row] as number); column++)
      slots.add(cellSlot(grid, promptLength, row, column));
    if (written.rowEnds[row] === 1) slots.add(rowLastSlot(grid, promptLength, row));
  }
  return [...slots].sort((a, b) => a - b);
}

function expand(runs: Int32Array): number[] {
  const slots: number[] = [];
  for (let k = 0; k < runs.length; k += 2) {
    for (let slot = runs[k] as number; slot < (runs[k + 1] as number); slot++) slots.push(slot);
  }
  return slots;
}

test("runs cover exactly the written slots", () => {
  fc.assert(
    fc.property(cases, (example) => {
      const runs = writtenRuns(example.grid, example.promptLength, example.written);
      expect(expand(runs)).toEqual(naiveSlots(example));
    }),
    { numRuns: runs(500), seed: 1 },
  );
});

test("runs are ascending, apart from each other, not empty and within the sequence", () => {
  fc.assert(
    fc.property(cases, ({ grid, promptLength, written }) => {
      const runs = writtenRuns(grid, promptLength, written);
      for (let k = 0; k < runs.length; k += 2) {
        expect(runs[k]).toBeLessThan(runs[k + 1] as number);
        if (k > 0) expect(runs[k]).toBeGreaterThan(runs[k - 1] as number);
      }
      expect(runs.at(-1)).toBeLessThanOrEqual(slotCount(grid, promptLength));
    }),
    { numRuns: runs(300), seed: 2 },
  );
});

test("nothing is written at first, and a written prompt is one run", () => {
  const grid: TokenGrid = { rows: 2, columns: 3, rowEnd: "token" };
  const nothing = nothingWritten(grid);
  expect([...writtenRuns(grid, 4, nothing)]).toEqual([]);
  expect([...writtenRuns(grid, 4, { ...nothing, prompt: true })]).toEqual([0, 4]);
});

test("prompt and complete rows are one run, each active row adds one", () => {
  const grid: TokenGrid = { rows: 4, columns: 5, rowEnd: "token" };
  const written = { prompt: true, cellCounts: Int32Array.of(5, 5, 4, 2), rowEnds: Uint8Array.of(1, 1, 1, 0) };
  expect([...writtenRuns(grid, 2, written)]).toEqual([0, 18, 19, 22]);
});
