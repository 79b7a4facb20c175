import { cellSlot, rowLastSlot } from "./grid.ts";
import { decodedIn, type SequenceState, tokenOf } from "./sequence-state.ts";
import { drawOf, NOTHING, type Query, type Want } from "./step-plan.ts";
import { surrogateToken } from "./surrogate-token.ts";
import { type AdaptiveWindow, smallestWindow } from "./window.ts";
import type { WrittenSlots } from "./written-slots.ts";

/** Feeds the newest token of every row that may go on, and what opens the next one, with the draft that is tested. */
export function planAdaptive(state: SequenceState, queries: Query[], written: WrittenSlots): void {
  for (let row = 0; row < state.grid.rows; row++) {
    if (decodedIn(state, row) > 0) {
      planNewestCell(state, row, queries, written);
    } else {
      if (mayStart(state, row)) planRowStart(state, row, queries, written);
      return; // a row that has not started keeps those below it waiting
    }
  }
}

/** Feeds the newest token of a row, and asks for its successor. */
function planNewestCell(state: SequenceState, row: number, queries: Query[], written: WrittenSlots): void {
  const { columns, rowEnd, rows } = state.grid;
  const step = state.forwardCount;
  const column = written.cellCounts[row] as number;
  if (column >= decodedIn(state, row)) return; // everything of this row is fed
  const slot = cellSlot(state.grid, state.promptLength, row, column);
  const token = tokenOf(state, row, column);
  if (column < columns - 1) {
    if (!seesItsWindow(state, row, column + 1)) return;
    queries.push({ kind: "ordinary", token, slot, step, want: drawOf(state, row, column + 1) });
    written.cellCounts[row] = column + 1;
    return;
  }
  if (row === rows - 1) return; // nothing is predicted from the last cell
  if (rowEnd === "none") {
    if (decodedIn(state, row + 1) === 0) return; // it is the row-start query of the row below
    queries.push({ kind: "refresh", token, slot, step, want: NOTHING });
  } else {
    queries.push({ kind: "ordinary", token, slot, step, want: NOTHING });
    if (state.refreshRowEnds && written.rowEnds[row] === 1 && decodedIn(state, row + 1) > 0) {
      queries.push({
        kind: "refresh",
        token: state.codeCount,
        slot: rowLastSlot(state.grid, state.promptLength, row),
        step,
        want: NOTHING,
      });
    }
  }
  written.cellCounts[row] = columns;
}

/** Feeds the predecessor of a row's first cell, and the draft that is being tested. */
function planRowStart(state: SequenceState, row: number, queries: Query[], written: WrittenSlots): void {
  const above = row - 1;
  const step = state.forwardCount;
  const slot = rowLastSlot(state.grid, state.promptLength, above);
  const want: Want = { type: "distribution", row, column: 0 };
  if (state.grid.rowEnd === "token") {
    queries.push({ kind: "row-start", token: state.codeCount, slot, step, want });
  } else if (decodedIn(state, above) === state.grid.columns) {
    queries.push({
      kind: "row-start",
      token: tokenOf(state, above, state.grid.columns - 1),
      slot,
      step,
      want,
    });
    written.cellCounts[above] = state.grid.columns;
  } else {
    queries.push({ kind: "surrogate", token: surrogateToken(state, row), slot, step, want });
  }
  written.rowEnds[above] = 1;

  const draft = state.drafts[row];
  const { verification } = state.window as AdaptiveWindow;
  if (draft === undefined || verification === "sequential") return;
  queries.push({
    kind: "draft",
    token: draft.token,
    slot: cellSlot(state.grid, state.promptLength, row, 0),
    step,
    want: drawOf(state, row, 1),
  });
  written.cellCounts[row] = 1;
}

/** Whether the row above is far enough ahead for this row's first cell. */
function mayStart(state: SequenceState, row: number): boolean {
  return row === 0 || decodedIn(state, row - 1) >= Math.min(smallestWindow(state.window), state.grid.columns);
}

/** Condition C of the decoding rule: the row above is decoded up to `window` tokens from this column on. */
function seesItsWindow(state: SequenceState, row: number, column: number): boolean {
  if (row === 0) return true;
  return decodedIn(state, row - 1) >= Math.min(column + (state.openedAt[row] as number), state.grid.columns);
}
