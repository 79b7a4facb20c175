import { commitStep } from "../../src/schedule/commit-step.ts";
import { planStep } from "../../src/schedule/plan-step.ts";
import { randomKey } from "../../src/schedule/random.ts";
import { isComplete, type SequenceState, startSequence } from "../../src/schedule/sequence-state.ts";
import type { Window } from "../../src/schedule/window.ts";
import { type StubOptions, stubOptionsSchema } from "../../src/stub/options.ts";
import { StubWorker } from "../../src/stub/worker.ts";
import type { TraceStep } from "./run-schedule.ts";

export interface StubRun {
  readonly trace: readonly TraceStep[];
  readonly state: SequenceState;
}

/** Runs one sequence on the stub model, without an engine, and records every forward, up to a number of them. */
export async function recordStub(
  options: StubOptions,
  window: Window,
  {
    seed = 0,
    temperature = 1,
    classIndex = 3,
    refreshRowEnds = false,
    forwards = Number.POSITIVE_INFINITY,
  }: {
    seed?: number;
    temperature?: number;
    classIndex?: number;
    refreshRowEnds?: boolean;
    forwards?: number;
  } = {},
): Promise<StubRun> {
  const resolved = stubOptionsSchema.parse(options);
  const { rows, columns, rowEnd, codeCount } = resolved;
  const worker = new StubWorker(resolved, 1);
  const conditioning = { type: "class", classIndex } as const;
  const { promptLength } = await worker.encodePrompt({
    sequence: 1,
    cacheRows: [0],
    rows,
    columns,
    conditioning,
  });
  const state = startSequence({
    grid: { rows, columns, rowEnd },
    promptLength,
    codeCount,
    window,
    refreshRowEnds,
    key: randomKey(seed),
  });
  const sampling = { guidanceScale: 1, temperature, topK: 0, topP: 1 };
  const trace: TraceStep[] = [];
  while (!isComplete(state) && trace.length < forwards) {
    const plan = planStep(state);
    const [results = []] = await worker.forward([{ sequence: 1, plan, sampling }]);
    const { cells, drafts } = commitStep(state, plan, results);
    trace.push({ queries: plan.queries, runs: plan.runs, cells, drafts });
  }
  return { trace, state };
}
