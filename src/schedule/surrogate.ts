import { decodedIn, type SequenceState, tokenOf } from "./sequence-state.ts";

/**
 * Which decoded token is fed in place of the last one of row `i - 1` while that is not decoded, to open row `i` in a
 * family without row-end tokens.
 * - `two-rows-up`: the newest token of row `i - 2`, of row 0 for row 1; the nearest on the grid, and what the reference
 *   implementation feeds (LlamaGen-ZipAR, generate_zipar.py)
 * - `newest`: the newest token of row `i - 1`, the row that is stood in for
 * - `above`: the token of row `i - 1` at column 0, directly above the cell that is to be decoded
 */
export type SurrogateRule = "two-rows-up" | "above" | "newest";

/** The surrogate that opens `row`, of which the row above has at least one token. */
export function surrogateToken(state: SequenceState, row: number): number {
  switch (state.surrogate) {
    case "two-rows-up": {
      const source = Math.max(0, row - 2);
      return tokenOf(state, source, decodedIn(state, source) - 1);
    }
    case "newest":
      return tokenOf(state, row - 1, decodedIn(state, row - 1) - 1);
    case "above":
      return tokenOf(state, row - 1, 0);
  }
}
