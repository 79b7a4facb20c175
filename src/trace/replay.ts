import { commitStep } from "../schedule/commit-step.ts";
import { ALWAYS_GUIDED } from "../schedule/guidance-interval.ts";
import { planStep } from "../schedule/plan-step.ts";
import { randomKey } from "../schedule/random.ts";
import { isComplete, type SequenceState, startSequence } from "../schedule/sequence-state.ts";
import type { QueryResult, StepOutcome } from "../schedule/step-outcome.ts";
import type { Query, StepPlan } from "../schedule/step-plan.ts";
import { firstDifference } from "./difference.ts";
import { replayError, type TraceDifference } from "./error.ts";
import type { Trace, TraceQuery, TraceStep } from "./format.ts";
import { pairsOf } from "./record.ts";

/** A run that was replayed to its end. */
export interface Replay {
  readonly forwards: number;
  readonly draftCount: number;
  readonly rejectedCount: number;
}

/**
 * Runs the schedule again on a trace's recorded results, without a model, and holds every plan, verdict and committed
 * cell against the trace.
 * Synchronous: a long trace holds up timers meanwhile.
 * @throws ZiparError `trace-mismatch` at the first difference; "expected" is what the schedule does
 */
export function replayTrace(trace: Trace): Replay {
  const { name, header, steps } = trace;
  const { grid, window, refreshRowEnds, surrogate, guidanceInterval, promptLength, codeCount, seed } = header;
  const { prefix } = header;
  const state = startSequence({
    grid,
    window,
    refreshRowEnds,
    surrogate,
    guidanceInterval: guidanceInterval ?? ALWAYS_GUIDED,
    promptLength,
    codeCount,
    key: randomKey(seed),
    ...(prefix === undefined ? {} : { prefix: Int32Array.from(prefix.flat()) }),
  });
  for (const [k, step] of steps.entries()) {
    const difference = replayStep(state, step);
    if (difference !== undefined) throw replayError(name, { ...difference, line: k + 2 }, difference.cause);
  }
  if (!isComplete(state)) {
    throw replayError(name, {
      line: steps.length + 2,
      expected: `forward ${steps.length + 1} (${state.decodedCount} of ${state.tokens.length} cells are decoded)`,
      received: "the end of the file",
    });
  }
  return { forwards: state.forwardCount, draftCount: state.draftCount, rejectedCount: state.rejectedCount };
}

type StepDifference = Omit<TraceDifference, "line"> & { readonly cause?: unknown };

function replayStep(state: SequenceState, step: TraceStep): StepDifference | undefined {
  if (isComplete(state)) {
    return { expected: "the end of the file (every cell is decoded)", received: `forward ${step.forward}` };
  }
  const plan = planStep(state, step.lookahead);
  const planned = {
    queries: plan.queries.map(({ kind, token, slot, step, want }) => ({ kind, token, slot, step, want })),
    runs: pairsOf(plan.runs),
  };
  const fed = { queries: step.queries.map(withoutResult), runs: step.runs };
  const planDifference = firstDifference(planned, fed);
  if (planDifference !== undefined) return planDifference;

  const outcome = commit(state, plan, step);
  if (outcome instanceof Error) {
    return {
      path: "queries",
      expected: "results that can be committed",
      received: outcome.message,
      cause: outcome,
    };
  }
  const { drafts, guesses, cells } = step;
  return firstDifference(outcome, { drafts, guesses, cells });
}

function commit(state: SequenceState, plan: StepPlan, step: TraceStep): StepOutcome | Error {
  try {
    return commitStep(state, plan, step.queries.map(resultOf));
  } catch (error) {
    return error as Error; // a distribution without any probability, for example
  }
}

function withoutResult({ want, ...query }: TraceQuery): Query {
  if (want.type === "none") return { ...query, want };
  const { result: _, ...wanted } = want;
  return { ...query, want: wanted };
}

function resultOf({ want }: TraceQuery): QueryResult {
  switch (want.type) {
    case "none":
      return undefined;
    case "draw":
      return want.result;
    case "distribution":
      return {
        tokens: Int32Array.from(want.result.tokens),
        probabilities: Float32Array.from(want.result.probabilities),
      };
  }
}
