import { decodedBefore, plainForwardCount, type TokenGrid } from "./grid.ts";

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
): readonly [from: number, to: number] {
  return [firstStepAt(grid, window, from), firstStepAt(grid, window, to)];
}

/** The first step before which plain decoding has decoded a share of the cells. */
function firstStepAt(grid: TokenGrid, window: number, share: number): number {
  const cellCount = grid.rows * grid.columns;
  let low = 0;
  let high = plainForwardCount(grid, window);
  while (low < high) {
    const middle = (low + high) >>> 1;
    if (decodedBefore(grid, window, middle) / cellCount >= share) high = middle;
    else low = middle + 1;
  }
  return low;
}
