import { decodedIn, type SequenceState, tokenOf } from "./sequence-state.ts";

/**
 * What a cell is taken for before it is decoded: the last token that was redrawn for it, or else a first guess, which is
 * what the cell above is taken for, in row 0 the cell to the left.
 */
export function guessOf(state: SequenceState, row: number, column: number): number {
  if (column < decodedIn(state, row)) return tokenOf(state, row, column);
  const redrawn = state.guesses[row * state.grid.columns + column];
  if (redrawn !== undefined) return redrawn;
  return row > 0 ? guessOf(state, row - 1, column) : guessOf(state, row, column - 1);
}
