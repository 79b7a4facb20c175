import { decodedIn, type SequenceState, tokenOf } from "./sequence-state.ts";
import { surrogateCell } from "./surrogate.ts";

/** The surrogate that opens `row`, of which the row above has at least one token. */
export function surrogateToken(state: SequenceState, row: number): number {
  const cell = surrogateCell(state.surrogate, row, (above) => decodedIn(state, above));
  return tokenOf(state, cell.row, cell.column);
}
