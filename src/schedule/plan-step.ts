import { cellSlot, rowLastSlot } from "./grid.ts";
import { PURPOSE, uniform } from "./random.ts";
import { decodedIn, type SequenceState, tokenOf } from "./sequence-state.ts";
import { surrogateToken } from "./surrogate-token.ts";
import { smallestWindow } from "./window.ts";
import { type WrittenSlots, writtenRuns } from "./written-slots.ts";

/**
 * Why a query is fed.
 * - `prompt`: a prompt position; the last one is the predecessor of cell (0, 0)
 * - `ordinary`: the newest token of a row
 * - `row-start`: the true predecessor of a row's first cell (row-end token, or the last cell of the row above)
 * - `surrogate`: a decoded token standing in for that predecessor; its K/V are provisional
 * - `draft`: an unverified first token of a row, fed so that its successor comes for free
 * - `refresh`: the true token of a slot that was written early; no logits needed
 */
export type QueryKind = "prompt" | "ordinary" | "row-start" | "surrogate" | "draft" | "refresh";

/** What a query's logits are for; `row` and `column` are those of the cell that they predict. */
export type Want =
  | { readonly type: "none" }
  | { readonly type: "draw"; readonly row: number; readonly column: number; readonly uniform: number }
  | { readonly type: "distribution"; readonly row: number; readonly column: number };

/** One (token, slot) fed to a forward. */
export interface Query {
  readonly kind: QueryKind;
  readonly token: number;
  readonly slot: number;
  readonly want: Want;
}

/** The part of one forward that belongs to one sequence. */
export interface StepPlan {
  /** In ascending slot order. */
  readonly queries: readonly Query[];
  /** Written slots once the forward has run. */
  readonly written: WrittenSlots;
  /** `written` as runs [first, end), flattened. */
  readonly runs: Int32Array;
}

const NONE: Want = { type: "none" };

/** Proposes the next forward of an unfinished sequence: every cell that may be decoded, and what must be fed for it. */
export function planStep(state: SequenceState): StepPlan {
  const queries: Query[] = [];
  const written = {
    prompt: true,
    cellCounts: state.written.cellCounts.slice(),
    rowEnds: state.written.rowEnds.slice(),
  };
  if (!state.written.prompt) planPrefill(state, queries);
  else planRows(state, queries, written);
  if (queries.length === 0)
    throw new Error("planStep: nothing can be fed; the sequence is complete or its state is broken");
  return { queries, written, runs: writtenRuns(state.grid, state.promptLength, written) };
}

function planPrefill(state: SequenceState, queries: Query[]): void {
  for (let slot = 0; slot < state.promptLength; slot++) {
    const want = slot === state.promptLength - 1 ? draw(state, 0, 0) : NONE;
    queries.push({ kind: "prompt", token: 0, slot, want });
  }
}

function planRows(state: SequenceState, queries: Query[], written: WrittenSlots): void {
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
  const column = written.cellCounts[row] as number;
  if (column >= decodedIn(state, row)) return; // everything of this row is fed
  const slot = cellSlot(state.grid, state.promptLength, row, column);
  const token = tokenOf(state, row, column);
  if (column < columns - 1) {
    if (!seesItsWindow(state, row, column + 1)) return;
    queries.push({ kind: "ordinary", token, slot, want: draw(state, row, column + 1) });
    written.cellCounts[row] = column + 1;
    return;
  }
  if (row === rows - 1) return; // nothing is predicted from the last cell
  if (rowEnd === "none") {
    if (decodedIn(state, row + 1) === 0) return; // it is the row-start query of the row below
    queries.push({ kind: "refresh", token, slot, want: NONE });
  } else {
    queries.push({ kind: "ordinary", token, slot, want: NONE });
    if (state.refreshRowEnds && written.rowEnds[row] === 1 && decodedIn(state, row + 1) > 0) {
      queries.push({
        kind: "refresh",
        token: state.codeCount,
        slot: rowLastSlot(state.grid, state.promptLength, row),
        want: NONE,
      });
    }
  }
  written.cellCounts[row] = columns;
}

/** Feeds the predecessor of a row's first cell; under the adaptive window also the draft that is being tested. */
function planRowStart(state: SequenceState, row: number, queries: Query[], written: WrittenSlots): void {
  const above = row - 1;
  const slot = rowLastSlot(state.grid, state.promptLength, above);
  const want: Want =
    state.window.kind === "fixed" ? draw(state, row, 0) : { type: "distribution", row, column: 0 };
  if (state.grid.rowEnd === "token") {
    queries.push({ kind: "row-start", token: state.codeCount, slot, want });
  } else if (decodedIn(state, above) === state.grid.columns) {
    queries.push({ kind: "row-start", token: tokenOf(state, above, state.grid.columns - 1), slot, want });
    written.cellCounts[above] = state.grid.columns;
  } else {
    queries.push({ kind: "surrogate", token: surrogateToken(state, row), slot, want });
  }
  written.rowEnds[above] = 1;

  const draft = state.drafts[row];
  if (draft === undefined || state.window.kind === "fixed" || state.window.verification === "sequential")
    return;
  queries.push({
    kind: "draft",
    token: draft.token,
    slot: cellSlot(state.grid, state.promptLength, row, 0),
    want: draw(state, row, 1),
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

function draw(state: SequenceState, row: number, column: number): Want {
  return { type: "draw", row, column, uniform: uniform(state.key, row, column, PURPOSE.token) };
}
