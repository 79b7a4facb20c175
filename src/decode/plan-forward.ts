import { chooseLookahead, countRows, type Participant } from "../schedule/choose-lookahead.ts";
import { planStep } from "../schedule/plan-step.ts";
import type { StepPlan } from "../schedule/step-plan.ts";
import { branchesOf } from "./branches.ts";
import type { LiveImage } from "./image.ts";
import type { RowCosts } from "./row-costs.ts";
import type { ForwardStep } from "./worker.ts";

export type PlannedForward = ForwardStep & { readonly plan: StepPlan; readonly branches: readonly number[] };

/**
 * What `auto` is where rounding depends on the number of rows, and with it now and then a token: a choice by the clock
 * would give other pictures of the same seed in every run.
 */
const STEADY_LOOKAHEAD = 15;

/**
 * Plans the next forward of a batch, in which the images share the rows that cost little.
 * @param dtype of the worker
 * @param limit of every lookahead
 */
export function planForward(
  batch: readonly LiveImage[],
  dtype: string,
  rowCosts: RowCosts,
  limit: number,
): readonly PlannedForward[] {
  const chosen = dtype === "float32" ? autoLookahead(batch, rowCosts) : STEADY_LOOKAHEAD;
  return batch.map((live) => {
    const { sampling, lookahead } = live.image.job.options;
    const plan = planStep(live.state, Math.min(limit, lookahead === "auto" ? chosen : lookahead));
    return { sequence: live.sequence, plan, sampling, branches: branchesOf(live) };
  });
}

function autoLookahead(batch: readonly LiveImage[], rowCosts: RowCosts): number {
  if (batch.every(({ image }) => image.job.options.lookahead !== "auto")) return 0;
  return chooseLookahead(batch.flatMap(participantOf), (rowCount) => rowCosts.of(rowCount));
}

export function rowCountOf(forwards: readonly PlannedForward[]): number {
  return countRows(
    forwards.map(({ plan, branches }) => ({
      queryCount: plan.queries.length,
      branchCount: branches.length,
    })),
  );
}

/** Images that are prefilled take no guesses, and other windows than fixed ones know how many. */
function participantOf(live: LiveImage): readonly Participant[] {
  const { state, image } = live;
  if (state.window.kind !== "fixed" || !state.written.prompt) return [];
  return [{ state, branchCount: branchesOf(live).length, lookahead: image.job.options.lookahead }];
}
