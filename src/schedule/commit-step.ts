import type { Distribution } from "./distribution.ts";
import { recordFed } from "./fed-queries.ts";
import { judgeDraft } from "./judge-draft.ts";
import type { Query, StepPlan } from "./plan-step.ts";
import { decodedIn, type SequenceState } from "./sequence-state.ts";
import type { AdaptiveWindow } from "./window.ts";

/** A drawn token and its probability under the filtered distribution. */
export interface Draw {
  readonly token: number;
  readonly probability: number;
}

/** What a forward returned for one query: nothing, a draw or a distribution, as the query wanted. */
export type QueryResult = Draw | Distribution | undefined;

export interface CommittedCell {
  readonly row: number;
  readonly column: number;
  readonly token: number;
}

/** What happened to a row's draft. */
export interface DraftOutcome {
  readonly type: "draft-accepted" | "draft-rejected";
  readonly row: number;
  /** Tokens of the row above that the draft had seen. */
  readonly window: number;
  readonly token: number;
}

export interface StepOutcome {
  readonly cells: readonly CommittedCell[];
  readonly drafts: readonly DraftOutcome[];
}

/** Takes the results of a planned forward into the state. `results` are in query order. */
export function commitStep(
  state: SequenceState,
  plan: StepPlan,
  results: readonly QueryResult[],
): StepOutcome {
  const cells: CommittedCell[] = [];
  const drafts: DraftOutcome[] = [];
  const accepted = new Set<number>();
  const kept: Query[] = [];
  const seen = state.decodedCounts.slice(); // what this forward could see of each row
  state.written = plan.written;
  state.forwardCount += 1;

  for (const [k, query] of plan.queries.entries()) {
    const result = results[k];
    const { want } = query;
    if (query.kind === "draft" && want.type === "draw" && !accepted.has(want.row)) {
      state.written.cellCounts[want.row] = 0; // the K/V of a rejected draft must not stay visible
      continue;
    }
    kept.push(query);
    if (want.type === "none") continue;
    if (want.type === "distribution") {
      const outcome = commitDistribution(
        state,
        want.row,
        asDistribution(result),
        seen[want.row - 1] as number,
        cells,
      );
      if (outcome !== undefined) drafts.push(outcome);
      if (outcome?.type === "draft-accepted") accepted.add(want.row);
      continue;
    }
    if (want.row > 0 && want.column === 0) state.openedAt[want.row] = seen[want.row - 1] as number;
    commitCell(state, want.row, want.column, asDraw(result).token, cells);
  }
  recordFed(state.fed, kept);
  return { cells, drafts };
}

/** Under the adaptive window: judges, keeps or replaces the draft of a row's first token. */
function commitDistribution(
  state: SequenceState,
  row: number,
  p: Distribution,
  seen: number,
  cells: CommittedCell[],
): DraftOutcome | undefined {
  const isFullContext = seen === state.grid.columns;
  const draft = state.drafts[row];
  const verdict = judgeDraft(state.window as AdaptiveWindow, state.key, row, draft, p, isFullContext);
  const { token } = verdict;

  if (verdict.type === "drafted") {
    state.drafts[row] = { token, distribution: p, window: seen, attempt: (draft?.attempt ?? -1) + 1 };
    state.draftCount += 1;
  } else {
    state.drafts[row] = undefined;
    state.openedAt[row] = verdict.type === "accepted" && draft !== undefined ? draft.window : seen;
    commitCell(state, row, 0, token, cells);
  }
  if (draft === undefined) return undefined;
  if (verdict.type === "accepted") return { type: "draft-accepted", row, window: draft.window, token };
  state.rejectedCount += 1;
  return { type: "draft-rejected", row, window: draft.window, token: draft.token };
}

function commitCell(
  state: SequenceState,
  row: number,
  column: number,
  token: number,
  cells: CommittedCell[],
): void {
  if (decodedIn(state, row) !== column)
    throw new Error(`commitStep: cell (${row}, ${column}) is out of turn`);
  state.tokens[row * state.grid.columns + column] = token;
  state.decodedCounts[row] = column + 1;
  state.decodedCount += 1;
  cells.push({ row, column, token });
}

function asDraw(result: QueryResult): Draw {
  if (result !== undefined && "token" in result) return result;
  throw new Error("commitStep: a draw was wanted and not returned");
}

function asDistribution(result: QueryResult): Distribution {
  if (result !== undefined && "tokens" in result) return result;
  throw new Error("commitStep: a distribution was wanted and not returned");
}
