import { chooseLookahead, countRows, type Participant } from "../schedule/choose-lookahead.ts";
import { planStep } from "../schedule/plan-step.ts";
import type { StepPlan } from "../schedule/step-plan.ts";
import { branchesOf } from "./branches.ts";
import type { LiveImage } from "./image.ts";
import type { RowCosts } from "./row-costs.ts";
import type { ForwardStep } from "./worker.ts";

export type PlannedForward = ForwardStep & { readonly plan: StepPlan; readonly branches: readonly number[] };

/**
 * Plans the next forward of a batch, in which the images share the rows that cost little.
 * @param limit of every lookahead
 */
export function planForward(
  batch: readonly LiveImage[],
  rowCosts: RowCosts,
  limit: number,
): readonly PlannedForward[] {
  const isChosen = batch.some(({ image }) => image.job.options.lookahead === "auto");
  const chosen = isChosen
    ? chooseLookahead(batch.flatMap(participantOf), (rowCount) => rowCosts.of(rowCount))
    : 0;
  return batch.map((live) => {
    const { sampling, lookahead } = live.image.job.options;
    const plan = planStep(live.state, Math.min(limit, lookahead === "auto" ? chosen : lookahead));
    return { sequence: live.sequence, plan, sampling, branches: branchesOf(live) };
  });
}

export function rowCountOf(forwards: readonly PlannedForward[]): number {
  return countRows(
    forwards.map(({ plan, branches }) => ({
      queryCount: plan.queries.length,
      branchCount: branches.length,
    })),
  );
}

/** Images that are prefilled and adaptive windows take no guesses. */
function participantOf(live: LiveImage): readonly Participant[] {
  const { state, image } = live;
  if (state.window.kind === "adaptive" || !state.written.prompt) return [];
  return [{ state, branchCount: branchesOf(live).length, lookahead: image.job.options.lookahead }];
}
