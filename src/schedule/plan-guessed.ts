import { cellSlot, rowLastSlot } from "./grid.ts";
import { guessOf } from "./guesses.ts";
import { decodedIn, type SequenceState } from "./sequence-state.ts";
import { drawOf, NOTHING, type Query, type Want } from "./step-plan.ts";
import type { WrittenSlots } from "./written-slots.ts";

/**
 * Feeds each row in flight from its newest locked cell to its end, with guesses for all that is not locked, and what the
 * row below needs to start. A row is in flight once the row above has a locked cell. Every query sees whatever is written
 * before it, guesses and all.
 */
export function planGuessed(state: SequenceState, queries: Query[], written: WrittenSlots): void {
  const { rows, columns, rowEnd } = state.grid;
  const step = state.forwardCount;
  for (let row = 0; row < rows && isInFlight(state, row); row++) {
    const opensNext = row + 1 < rows && isInFlight(state, row + 1) && decodedIn(state, row + 1) === 0;
    const nextStart: Want = opensNext ? drawOf(state, row + 1, 0) : NOTHING;
    const end = row === rows - 1 ? columns - 1 : columns; // nothing is predicted from the last cell
    for (let column = firstToFeed(state, row, opensNext); column < end; column++) {
      const isGuess = column >= decodedIn(state, row);
      const isLast = column === columns - 1;
      queries.push({
        kind: isGuess ? "guess" : isLast && opensNext && rowEnd === "none" ? "row-start" : "ordinary",
        token: guessOf(state, row, column),
        slot: cellSlot(state.grid, state.promptLength, row, column),
        step,
        want: isLast ? (rowEnd === "none" ? nextStart : NOTHING) : drawOf(state, row, column + 1),
      });
    }
    written.cellCounts[row] = end;
    if (!opensNext || rowEnd === "none") continue;
    const slot = rowLastSlot(state.grid, state.promptLength, row);
    queries.push({ kind: "row-start", token: state.codeCount, slot, step, want: nextStart });
    written.rowEnds[row] = 1;
  }
}

function isInFlight(state: SequenceState, row: number): boolean {
  return row === 0 || decodedIn(state, row - 1) > 0;
}

/** The first column of a row that is fed. Of a row that is locked it is the last one, where that is still needed. */
function firstToFeed(state: SequenceState, row: number, opensNext: boolean): number {
  const { columns, rowEnd } = state.grid;
  const locked = decodedIn(state, row);
  if (locked < columns) return Math.max(locked - 1, 0);
  const isNeeded = state.staleEnds[row] === 1 || (rowEnd === "none" && opensNext);
  return isNeeded ? columns - 1 : columns;
}
