import { commitCell } from "./commit-cell.ts";
import { recordFed } from "./fed-queries.ts";
import { cellSlot } from "./grid.ts";
import { guessOf } from "./guesses.ts";
import { decodedIn, type SequenceState, tokenOf } from "./sequence-state.ts";
import { asDraw, type CommittedCell, type QueryResult, type StepOutcome } from "./step-outcome.ts";
import type { StepPlan } from "./step-plan.ts";
import type { GuessedWindow } from "./window.ts";

/** What was drawn again for a cell. */
interface Redraw {
  readonly token: number;
  /** Whether it is the token that was fed for the cell. */
  readonly isUnchanged: boolean;
}

/**
 * Locks, row by row, the cells behind the locked ones, as long as the row above was locked `size` beyond them before
 * this forward. The first cell whose redraw differs from what was fed for it is the last one to lock, as those behind
 * it saw the old token. All other redraws are the guesses of the next forward.
 */
export function commitGuessed(
  state: SequenceState,
  plan: StepPlan,
  results: readonly QueryResult[],
): StepOutcome {
  const { rows, columns } = state.grid;
  const seen = state.decodedCounts.slice(); // what this forward could see of each row as locked
  const redraws = takeRedraws(state, plan, results);
  const cells: CommittedCell[] = [];
  let heldCount = 0;
  for (let row = 0; row < rows; row++) {
    for (let column = seen[row] as number; column < columns; column++) {
      const redraw = redraws.get(row * columns + column);
      if (redraw === undefined || !mayLock(state, seen, row, column)) break;
      if (row > 0 && column === 0) state.openedAt[row] = (state.window as GuessedWindow).size;
      commitCell(state, row, column, redraw.token, cells);
      if (!redraw.isUnchanged) break;
      heldCount += 1;
    }
  }
  for (const [cell, { token }] of redraws) state.guesses[cell] = token;
  noteStaleEnds(state, plan);
  state.written = plan.written;
  recordFed(state.fed, plan.queries);
  const fedCount = plan.queries.reduce((count, { kind }) => count + (kind === "guess" ? 1 : 0), 0);
  state.guessCount += fedCount;
  state.heldCount += heldCount;
  return { cells, drafts: [], guesses: { fedCount, heldCount } };
}

/** By cell, compared with what was fed, before anything of it changes; counts how long each has kept its token. */
function takeRedraws(
  state: SequenceState,
  { queries }: StepPlan,
  results: readonly QueryResult[],
): ReadonlyMap<number, Redraw> {
  const redraws = new Map<number, Redraw>();
  for (const [k, { want }] of queries.entries()) {
    if (want.type !== "draw" || want.column < decodedIn(state, want.row)) continue;
    const { token } = asDraw(results[k]);
    const isFed = want.row + want.column > 0;
    redraws.set(want.row * state.grid.columns + want.column, {
      token,
      isUnchanged: isFed && token === guessOf(state, want.row, want.column),
    });
  }
  for (const [cell, { isUnchanged }] of redraws)
    state.calmCounts[cell] = isUnchanged ? (state.calmCounts[cell] as number) + 1 : 0;
  return redraws;
}

function mayLock(state: SequenceState, seen: Int32Array, row: number, column: number): boolean {
  if (row === 0) return true;
  const { columns } = state.grid;
  const { size, unchanged } = state.window as GuessedWindow;
  const above = seen[row - 1] as number;
  if (above < Math.min(column + size, columns)) return false;
  return above === columns || (state.calmCounts[row * columns + column] as number) >= unchanged;
}

/** Notes for each row whether its last cell was fed with the token that it has now. */
function noteStaleEnds(state: SequenceState, { queries }: StepPlan): void {
  const { rows, columns } = state.grid;
  const fed = new Map(queries.map(({ slot, token }) => [slot, token]));
  for (let row = 0; row < rows - 1; row++) {
    const token = fed.get(cellSlot(state.grid, state.promptLength, row, columns - 1));
    if (token === undefined) continue;
    state.staleEnds[row] =
      decodedIn(state, row) < columns || tokenOf(state, row, columns - 1) !== token ? 1 : 0;
  }
}
