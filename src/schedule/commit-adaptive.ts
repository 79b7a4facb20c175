import { commitCell } from "./commit-cell.ts";
import type { Distribution } from "./distribution.ts";
import { recordFed } from "./fed-queries.ts";
import { judgeDraft } from "./judge-draft.ts";
import type { SequenceState } from "./sequence-state.ts";
import {
  asDraw,
  type CommittedCell,
  type DraftOutcome,
  type QueryResult,
  type StepOutcome,
} from "./step-outcome.ts";
import type { Query, StepPlan } from "./step-plan.ts";
import type { AdaptiveWindow } from "./window.ts";

/** Takes a forward under the adaptive window into the state: tests drafts, commits what was drawn. */
export function commitAdaptive(
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
  return { cells, drafts, guesses: { fedCount: 0, heldCount: 0 } };
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

function asDistribution(result: QueryResult): Distribution {
  if (result !== undefined && "tokens" in result) return result;
  throw new Error("commitAdaptive: a distribution was wanted and not returned");
}
