import { commitAdaptive } from "./commit-adaptive.ts";
import { commitFixed } from "./commit-fixed.ts";
import type { SequenceState } from "./sequence-state.ts";
import type { QueryResult, StepOutcome } from "./step-outcome.ts";
import type { StepPlan } from "./step-plan.ts";

/** Takes the results of a planned forward into the state. `results` are in query order. */
export function commitStep(
  state: SequenceState,
  plan: StepPlan,
  results: readonly QueryResult[],
): StepOutcome {
  state.forwardCount += 1;
  return state.window.kind === "fixed"
    ? commitFixed(state, plan, results)
    : commitAdaptive(state, plan, results);
}
