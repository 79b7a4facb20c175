import { commitAdaptive } from "./commit-adaptive.ts";
import { commitFixed } from "./commit-fixed.ts";
import { commitGuessed } from "./commit-guessed.ts";
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
  switch (state.window.kind) {
    case "fixed":
      return commitFixed(state, plan, results);
    case "guessed":
      return commitGuessed(state, plan, results);
    case "adaptive":
      return commitAdaptive(state, plan, results);
  }
}
