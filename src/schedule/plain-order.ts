import { cellSlot, plainForwardCount, rowLastSlot, stepsToDecode } from "./grid.ts";
import { decodedIn, type SequenceState } from "./sequence-state.ts";
import { surrogateCell } from "./surrogate.ts";

/**
 * What plain decoding at a fixed window feeds, and at which step: known before any token is.
 *
 * Step 0 is the prefill. Query `k` of row `i` is fed at step `i * window + k`. For `k < columns` it draws cell `(i, k)`:
 * query 0 is the row-start query (for row 0 the end of the prompt), query `k` feeds cell `(i, k - 1)`. Where rows below
 * still have to see the last cell of a row, one more query, the tail, feeds it and draws nothing.
 */
export interface RowQuery {
  readonly slot: number;
  readonly step: number;
  /** The cell whose token is fed; undefined where that is the row-end token or a position of the prompt. */
  readonly source: Cell | undefined;
}

export interface Cell {
  readonly row: number;
  readonly column: number;
}

/** A row in which something is left to feed. */
export interface PendingRow {
  readonly row: number;
  /** Its first query that is not fed for good. */
  readonly next: number;
  /** The step from which its guesses count: that of `next`, or of the row above where the token of `next` is a guess. */
  readonly from: number;
}

export function windowSize({ window }: SequenceState): number {
  if (window.kind === "fixed") return window.size;
  throw new Error(`windowSize: ${window.kind} windows have no order before their tokens`);
}

/** The step at which query `k` of a row is fed. */
export function stepOf(state: SequenceState, row: number, k: number): number {
  return row * windowSize(state) + k;
}

export function rowQuery(state: SequenceState, row: number, k: number): RowQuery {
  const { grid, promptLength } = state;
  const step = stepOf(state, row, k);
  if (k > 0) {
    const source = { row, column: k - 1 };
    return { slot: cellSlot(grid, promptLength, row, k - 1), step, source };
  }
  if (row === 0) return { slot: promptLength - 1, step, source: undefined };
  return { slot: rowLastSlot(grid, promptLength, row - 1), step, source: rowStartSource(state, row) };
}

/** The queries of a row below the prefix, its tail included. */
export function queryCount(state: SequenceState, row: number): number {
  const { rows, columns, rowEnd } = state.grid;
  const startsRowBelow = rowEnd === "none" && windowSize(state) === columns;
  return columns + (row === rows - 1 || startsRowBelow ? 0 : 1);
}

/** The first query of a row that is not fed for good. */
export function nextQuery(state: SequenceState, row: number): number {
  const decoded = decodedIn(state, row);
  const isTailFed = state.written.cellCounts[row] === state.grid.columns;
  return decoded === state.grid.columns && isTailFed ? decoded + 1 : decoded;
}

/** From the top, without those of the prefix. Rows that wait for others are among them. */
export function* pendingRows(state: SequenceState): Generator<PendingRow> {
  let above = { step: Number.POSITIVE_INFINITY, from: 0 };
  for (let row = state.prefixRows; row < state.grid.rows; row++) {
    const next = nextQuery(state, row);
    if (next >= queryCount(state, row)) continue; // then every row above is complete too
    const step = stepOf(state, row, next);
    const isOpen = next > 0 || step <= above.step;
    above = { step, from: isOpen ? step : above.from };
    yield { row, next, from: above.from };
  }
}

/**
 * The first step whose queries are not all fed for good: the steps that plain decoding would have taken by now. Where
 * there is no such order, those after which a plain window would have decoded as many cells, or the forwards.
 */
export function plainStep(state: SequenceState): number {
  const { grid, window, decodedCount, forwardCount, prefixRows } = state;
  if (window.kind === "adaptive") return prefixRows * window.min + forwardCount;
  if (window.kind === "guessed") return stepsToDecode(grid, window.size, decodedCount, prefixRows);
  let first = Number.POSITIVE_INFINITY;
  for (const { row, next } of pendingRows(state)) first = Math.min(first, stepOf(state, row, next));
  return Math.min(first, plainForwardCount(grid, window.size));
}

/**
 * Whether the slot at the end of each row but the last is written twice: first for the row below to start from, then
 * for good, by the tail of its own row.
 */
export function rewritesRowEnds({ grid, refreshRowEnds, window }: SequenceState): boolean {
  return window.kind === "fixed" && window.size < grid.columns && (grid.rowEnd === "none" || refreshRowEnds);
}

/**
 * Whether the tail of a row may be fed. Where it writes a slot for the second time, every query that plain decoding
 * shows the first version must be fed for good before, since a slot holds one version.
 */
export function mayFeedTail(state: SequenceState, row: number): boolean {
  if (!rewritesRowEnds(state)) return true;
  const step = stepOf(state, row, state.grid.columns);
  for (let below = row + 1; below < state.grid.rows && stepOf(state, below, 0) < step; below++)
    if (stepOf(state, below, nextQuery(state, below)) < step) return false;
  return true;
}

/** Whether a row starts before the last cell of the row above is decoded, and there is no row-end token to start it from. */
export function hasSurrogate({ grid, window, prefixRows }: SequenceState, row: number): boolean {
  const isEarly = window.kind === "fixed" && window.size < grid.columns && row > prefixRows;
  return grid.rowEnd === "none" && isEarly;
}

/** What starts a row: the row-end token, the last cell of the row above, or the surrogate in its place. */
function rowStartSource(state: SequenceState, row: number): Cell | undefined {
  const { columns, rowEnd } = state.grid;
  if (rowEnd === "token") return undefined;
  if (!hasSurrogate(state, row)) return { row: row - 1, column: columns - 1 };
  const size = windowSize(state);
  const decodedCount = (above: number) =>
    above < state.prefixRows ? columns : Math.min((row - above) * size, columns);
  return surrogateCell(state.surrogate, row, decodedCount);
}
