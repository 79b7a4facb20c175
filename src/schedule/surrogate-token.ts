import { decodedIn, type SequenceState, tokenOf } from "./sequence-state.ts";

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
