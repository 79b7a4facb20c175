import { cellSlot, rowLastSlot } from "./grid.ts";
import { guessOf } from "./guesses.ts";
import { nextSwitch } from "./guidance.ts";
import {
  hasSurrogate,
  mayFeedTail,
  pendingRows,
  queryCount,
  rewritesRowEnds,
  rowQuery,
  stepOf,
} from "./plain-order.ts";
import { decodedIn, type SequenceState } from "./sequence-state.ts";
import { drawOf, NOTHING, type Query, type QueryKind } from "./step-plan.ts";
import type { WrittenSlots } from "./written-slots.ts";

/** The queries [first, end) of a row that a forward feeds; none of them where the row has to wait. */
export interface FeedRange {
  readonly row: number;
  readonly first: number;
  readonly end: number;
  /** The step from which the guesses of the row count. */
  readonly from: number;
}

/**
 * Feeds, in each row, the first query that is not fed for good and those up to `lookahead` steps behind it. With a
 * lookahead of 0 this is plain decoding.
 */
export function planFixed(
  state: SequenceState,
  lookahead: number,
  queries: Query[],
  written: WrittenSlots,
): void {
  for (const { row, first, end } of feedRanges(state, lookahead))
    for (let k = first; k < end; k++) feed(state, row, k, queries, written);
}

/**
 * What a forward may feed, row by row from the top. A query is fed only together with all that plain decoding shows it,
 * as far as that is not fed for good; and no forward crosses a step at which guidance is switched.
 */
export function* feedRanges(state: SequenceState, lookahead: number): Generator<FeedRange> {
  const switchStep = nextSwitch(state);
  let reach = Number.POSITIVE_INFINITY; // the first step that the row above does not feed
  for (const { row, next, from } of pendingRows(state)) {
    const count = queryCount(state, row);
    const end = Math.min(reach, switchStep, from + lookahead + 1) - stepOf(state, row, 0);
    const limit = mayFeedTail(state, row) ? count : state.grid.columns;
    const fed = { row, first: next, end: Math.max(next, Math.min(end, limit)), from };
    yield fed;
    if (fed.end === 0) return; // a row that does not start keeps those below it waiting
    reach = fed.end === count ? Number.POSITIVE_INFINITY : stepOf(state, row, fed.end);
  }
}

function feed(state: SequenceState, row: number, k: number, queries: Query[], written: WrittenSlots): void {
  const { columns } = state.grid;
  const { slot, step, source } = rowQuery(state, row, k);
  const token = source === undefined ? state.codeCount : guessOf(state, source.row, source.column);
  const isGuess = source !== undefined && source.column >= decodedIn(state, source.row);
  const want = k < columns ? drawOf(state, row, k) : NOTHING;
  queries.push({ kind: isGuess ? "guess" : kindOf(state, row, k), token, slot, step, want });
  writeQuery(state, row, k, written);
  if (k === columns && state.grid.rowEnd === "token" && rewritesRowEnds(state)) {
    const rowEnd = rowLastSlot(state.grid, state.promptLength, row);
    queries.push({ kind: "refresh", token: state.codeCount, slot: rowEnd, step, want: NOTHING });
  }
}

/** Books what query `k` of a row writes. */
export function writeQuery(state: SequenceState, row: number, k: number, written: WrittenSlots): void {
  if (k > 0) {
    written.cellCounts[row] = k;
    return;
  }
  if (row === 0) return; // the prompt
  const { grid, promptLength } = state;
  written.rowEnds[row - 1] = 1;
  const { slot, source } = rowQuery(state, row, 0);
  const isTrueToken =
    source !== undefined && slot === cellSlot(grid, promptLength, source.row, source.column);
  if (isTrueToken) written.cellCounts[row - 1] = grid.columns;
}

function kindOf(state: SequenceState, row: number, k: number): QueryKind {
  if (k === 0) return hasSurrogate(state, row) ? "surrogate" : "row-start";
  return k === state.grid.columns && state.grid.rowEnd === "none" ? "refresh" : "ordinary";
}
