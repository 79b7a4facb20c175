import { cellSlot, rowLastSlot, rowStride, type TokenGrid } from "./grid.ts";

/** Which slots of a sequence's K/V cache hold keys and values that a query may attend to. */
export interface WrittenSlots {
  readonly prompt: boolean;
  /** Per row: cells written from column 0 on. */
  readonly cellCounts: Int32Array;
  /** Per row: 1 when the row's last slot is written, for good (row-end token, last cell) or provisionally (surrogate). */
  readonly rowEnds: Uint8Array;
}

export function nothingWritten(grid: TokenGrid): WrittenSlots {
  return { prompt: false, cellCounts: new Int32Array(grid.rows), rowEnds: new Uint8Array(grid.rows) };
}

export function copyWritten({ prompt, cellCounts, rowEnds }: WrittenSlots): WrittenSlots {
  return { prompt, cellCounts: cellCounts.slice(), rowEnds: rowEnds.slice() };
}

/**
 * The written slots as ascending, disjoint, maximal runs, flattened to [first, end, first, end, ...].
 * Prompt and complete rows are one run; each active row adds one.
 */
export function writtenRuns(grid: TokenGrid, promptLength: number, written: WrittenSlots): Int32Array {
  const runs: number[] = [];
  if (written.prompt) appendRun(runs, 0, promptLength);
  for (let row = 0; row < grid.rows; row++) {
    const first = cellSlot(grid, promptLength, row, 0);
    const cellCount = written.cellCounts[row] as number;
    if (cellCount > 0) appendRun(runs, first, first + cellCount);
    if (written.rowEnds[row] === 1 && cellCount < rowStride(grid)) {
      const last = rowLastSlot(grid, promptLength, row);
      appendRun(runs, last, last + 1);
    }
    if (cellCount === 0 && written.rowEnds[row] === 0) break; // rows below cannot have started
  }
  return Int32Array.from(runs);
}

function appendRun(runs: number[], first: number, end: number): void {
  if (runs.length > 0 && runs[runs.length - 1] === first) runs[runs.length - 1] = end;
  else runs.push(first, end);
}
