import { decodedIn, type SequenceState } from "./sequence-state.ts";
import type { CommittedCell } from "./step-outcome.ts";

/** Makes a token final, and appends it to the `cells` of its forward. */
export function commitCell(
  state: SequenceState,
  row: number,
  column: number,
  token: number,
  cells: CommittedCell[],
): void {
  if (decodedIn(state, row) !== column)
    throw new Error(`commitCell: cell (${row}, ${column}) is out of turn`);
  state.tokens[row * state.grid.columns + column] = token;
  state.decodedCounts[row] = column + 1;
  state.decodedCount += 1;
  cells.push({ row, column, token });
}
