import { planAdaptive } from "./plan-adaptive.ts";
import { planFixed } from "./plan-fixed.ts";
import { planGuessed } from "./plan-guessed.ts";
import type { SequenceState } from "./sequence-state.ts";
import { drawOf, NOTHING, type Query, type StepPlan } from "./step-plan.ts";
import { copyWritten, writtenRuns } from "./written-slots.ts";

/**
 * Proposes the next forward of an unfinished sequence: every cell that may be decoded, and what must be fed for it.
 * @param lookahead how many steps of plain decoding ahead guesses are fed under a fixed window
 */
export function planStep(state: SequenceState, lookahead = 0): StepPlan {
  const queries: Query[] = [];
  const written = { ...copyWritten(state.written), prompt: true };
  if (!state.written.prompt) planPrefill(state, queries);
  else if (state.window.kind === "fixed") planFixed(state, lookahead, queries, written);
  else if (state.window.kind === "guessed") planGuessed(state, queries, written);
  else planAdaptive(state, queries, written);
  if (queries.length === 0)
    throw new Error("planStep: nothing can be fed; the sequence is complete or its state is broken");
  return { queries, written, runs: writtenRuns(state.grid, state.promptLength, written), lookahead };
}

function planPrefill(state: SequenceState, queries: Query[]): void {
  for (let slot = 0; slot < state.promptLength; slot++) {
    const want = slot === state.promptLength - 1 ? drawOf(state, 0, 0) : NOTHING;
    queries.push({ kind: "prompt", token: 0, slot, step: 0, want });
  }
}
