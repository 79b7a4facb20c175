import { stepsToDecode, type TokenGrid } from "./grid.ts";

/** Shares of the decoded cells: guidance is on from the first up to, and without, the second. */
export type GuidanceInterval = readonly [from: number, to: number];

export const ALWAYS_GUIDED: GuidanceInterval = [0, 1];

export function isWithin([from, to]: GuidanceInterval, share: number): boolean {
  return from <= share && share < to;
}

/** The same as steps of plain decoding at a fixed window. */
export function guidedSteps(
  grid: TokenGrid,
  window: number,
  [from, to]: GuidanceInterval,
  prefixRows: number,
): readonly [from: number, to: number] {
  const firstStepAt = (share: number) =>
    stepsToDecode(grid, window, share * grid.rows * grid.columns, prefixRows);
  return [firstStepAt(from), firstStepAt(to)];
}
