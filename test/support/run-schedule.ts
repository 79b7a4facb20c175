import { commitStep } from "../../src/schedule/commit-step.ts";
import { planStep } from "../../src/schedule/plan-step.ts";
import { randomKey } from "../../src/schedule/random.ts";
import { isComplete, type SequenceState, startSequence } from "../../src/schedule/sequence-state.ts";
import type { CommittedCell, DraftOutcome, QueryResult } from "../../src/schedule/step-outcome.ts";
import type { Query, StepPlan } from "../../src/schedule/step-plan.ts";
import type { Setting } from "./grids.ts";

/** One forward of a recorded run. */
export interface TraceStep {
  readonly queries: readonly Query[];
  readonly runs: Int32Array;
  readonly cells: readonly CommittedCell[];
  readonly drafts: readonly DraftOutcome[];
}

export const CODE_COUNT = 1000;

/** Runs a fixed window with tokens that name their cell, and records every forward. */
export function recordFixed({ grid, window, promptLength, refreshRowEnds }: Setting): readonly TraceStep[] {
  const state = startSequence({
    grid,
    promptLength,
    codeCount: CODE_COUNT,
    window: { kind: "fixed", size: window },
    refreshRowEnds,
    key: randomKey(1),
  });
  return record(state, ({ queries }) =>
    queries.map(({ want }) =>
      want.type === "none" ? undefined : { token: cellToken(want.row, want.column), probability: 1 },
    ),
  );
}

/** A token that tells neighbouring cells apart. */
export function cellToken(row: number, column: number): number {
  return (row * 41 + column) % CODE_COUNT;
}

export function record(
  state: SequenceState,
  forward: (plan: StepPlan) => readonly QueryResult[],
): readonly TraceStep[] {
  const trace: TraceStep[] = [];
  while (!isComplete(state)) {
    const plan = planStep(state);
    const { cells, drafts } = commitStep(state, plan, forward(plan));
    trace.push({ queries: plan.queries, runs: plan.runs, cells, drafts });
  }
  return trace;
}

/** The forward (from 1) that decoded each cell, in raster order; 0 where none did. */
export function decodedAt(trace: readonly TraceStep[], rows: number, columns: number): number[] {
  const forwards = new Array<number>(rows * columns).fill(0);
  for (const [k, { cells }] of trace.entries()) {
    for (const { row, column } of cells) forwards[row * columns + column] = k + 1;
  }
  return forwards;
}
