import { commitCell } from "./commit-cell.ts";
import { recordFed } from "./fed-queries.ts";
import { rowLastSlot } from "./grid.ts";
import { recordGuess } from "./guess-record.ts";
import {
  type Cell,
  pendingRows,
  queryCount,
  rewritesRowEnds,
  rowQuery,
  stepOf,
  windowSize,
} from "./plain-order.ts";
import { writeQuery } from "./plan-fixed.ts";
import { decodedIn, type SequenceState, tokenOf } from "./sequence-state.ts";
import { asDraw, type CommittedCell, type QueryResult, type StepOutcome } from "./step-outcome.ts";
import type { Query, StepPlan } from "./step-plan.ts";
import { copyWritten } from "./written-slots.ts";

/** Query `k` of a row as it was fed in this forward. */
interface FedQuery {
  readonly k: number;
  readonly query: Query;
  readonly source: Cell | undefined;
  /** Of its result. */
  readonly index: number;
}

/**
 * Judges the guesses of a forward, row by row from the top. A query is fed for good when its token is the final one and
 * so is all that it saw: the queries of its row before it, and those of the rows above up to its step. What it draws is
 * final. What is drawn behind the first query that is not, are better guesses; the K/V of those queries do not stay
 * visible.
 */
export function commitFixed(
  state: SequenceState,
  plan: StepPlan,
  results: readonly QueryResult[],
): StepOutcome {
  const cells: CommittedCell[] = [];
  const slots = new Set<number>(); // those that were fed for good
  const indices = new Map(plan.queries.map(({ slot }, index) => [slot, index]));
  if (!state.written.prompt) for (const { slot } of plan.queries) slots.add(slot);
  state.written = { ...copyWritten(state.written), prompt: true };
  let end = Number.POSITIVE_INFINITY; // the first step that the row above has not fed for good
  for (const { row, next, from } of [...pendingRows(state)]) {
    let first = next; // the first query that is not fed for good
    for (const { k, query, source, index } of fedQueries(state, indices, plan, row, next)) {
      const isReached = k === first && query.step < end; // all that it saw is final
      const isForGood = isReached && isFinalToken(state, source, query.token);
      if (isForGood) {
        first = k + 1;
        slots.add(query.slot);
        writeQuery(state, row, k, state.written);
      }
      if (query.want.type !== "draw") continue;
      const { token } = asDraw(results[index]);
      if (isReached) recordGuess(state.guessRecord, query.step - from, isForGood);
      if (isForGood) {
        if (k === 0 && row > 0) state.openedAt[row] = windowSize(state);
        commitCell(state, row, k, token, cells);
      } else state.guesses[row * state.grid.columns + k] = token;
    }
    if (first === queryCount(state, row) && rewritesRowEnds(state))
      slots.add(rowLastSlot(state.grid, state.promptLength, row)); // the row-end token that was fed with the tail
    end = first === queryCount(state, row) ? Number.POSITIVE_INFINITY : stepOf(state, row, first);
  }
  const kept = plan.queries.filter(({ slot }) => slots.has(slot));
  recordFed(state.fed, kept);
  const guesses = { fedCount: guessCount(plan.queries), heldCount: guessCount(kept) };
  state.guessCount += guesses.fedCount;
  state.heldCount += guesses.heldCount;
  return { cells, drafts: [], guesses };
}

/** The queries of a row in this forward, from its first one that was not fed for good before. */
function* fedQueries(
  state: SequenceState,
  indices: ReadonlyMap<number, number>,
  { queries }: StepPlan,
  row: number,
  next: number,
): Generator<FedQuery> {
  for (let k = next; k < queryCount(state, row); k++) {
    const { slot, step, source } = rowQuery(state, row, k);
    const index = indices.get(slot);
    const query = index === undefined ? undefined : queries[index];
    if (index === undefined || query?.step !== step) return; // that slot was fed for another row, or not at all
    yield { k, query, source, index };
  }
}

/** Whether a fed token is the one that its cell was decoded to; row-end tokens and prompts are always what they are. */
function isFinalToken(state: SequenceState, source: Cell | undefined, token: number): boolean {
  if (source === undefined) return true;
  const { row, column } = source;
  return column < decodedIn(state, row) && tokenOf(state, row, column) === token;
}

function guessCount(queries: readonly Query[]): number {
  return queries.reduce((count, { kind }) => count + (kind === "guess" ? 1 : 0), 0);
}
