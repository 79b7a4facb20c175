import type { ResolvedGeneration } from "../api/generate-options.ts";
import type { CommittedStep } from "../decode/image.ts";
import type { Worker } from "../decode/worker.ts";
import type { Distribution } from "../schedule/distribution.ts";
import type { SequenceState } from "../schedule/sequence-state.ts";
import type { QueryResult } from "../schedule/step-outcome.ts";
import type { Query } from "../schedule/step-plan.ts";
import { tokenRows } from "../schedule/token-rows.ts";
import { TRACE_VERSION, type TraceHeader, type TraceQuery, type TraceStep } from "./format.ts";

/** What of the worker a trace names. */
export type TracedWorker = Pick<Worker, "card" | "device" | "dtype">;

/**
 * The lines that a committed forward adds to a trace: the header too when it is the first one.
 * @param atMs when it was committed, in ms after the image got its cache rows
 */
export function traceLines(
  worker: TracedWorker,
  options: ResolvedGeneration,
  state: SequenceState,
  step: CommittedStep,
  atMs: number,
): readonly string[] {
  const line = JSON.stringify(describeStep(state.forwardCount, step, atMs));
  return state.forwardCount === 1 ? [JSON.stringify(describeRun(worker, options, state)), line] : [line];
}

function describeRun(
  { card, device, dtype }: TracedWorker,
  options: ResolvedGeneration,
  state: SequenceState,
): TraceHeader {
  const { grid, window, refreshRowEnds, surrogate, promptLength, codeCount } = state;
  const { conditioning, sampling, seed, prefix } = options;
  const [from, to] = state.guidanceInterval;
  return {
    "zipar-trace": TRACE_VERSION,
    model: card.name,
    device,
    dtype,
    conditioning,
    grid,
    window,
    refreshRowEnds,
    surrogate,
    sampling,
    ...(from === 0 && to === 1 ? {} : { guidanceInterval: [from, to] as [number, number] }),
    seed,
    ...(prefix === undefined ? {} : { prefix: tokenRows(prefix, grid.columns) }),
    promptLength,
    codeCount,
  };
}

function describeStep(forward: number, { plan, results, outcome }: CommittedStep, atMs: number): TraceStep {
  return {
    forward,
    atMs: Math.round(atMs * 1000) / 1000,
    lookahead: plan.lookahead,
    queries: plan.queries.map((query, k) => describeQuery(query, results[k])),
    runs: pairsOf(plan.runs),
    drafts: [...outcome.drafts],
    guesses: { ...outcome.guesses },
    cells: [...outcome.cells],
  };
}

function describeQuery({ kind, token, slot, step, want }: Query, result: QueryResult): TraceQuery {
  if (want.type === "none") return { kind, token, slot, step, want };
  if (want.type === "draw" && result !== undefined && "token" in result) {
    return { kind, token, slot, step, want: { ...want, result } };
  }
  if (want.type === "distribution" && result !== undefined && "tokens" in result) {
    return { kind, token, slot, step, want: { ...want, result: describeDistribution(result) } };
  }
  throw new Error(`describeQuery: slot ${slot} wanted a ${want.type} and did not get it`);
}

/** The shortest decimals that read back as the same 32-bit floats: nine significant digits always do. */
function describeDistribution({ tokens, probabilities }: Distribution) {
  return {
    tokens: [...tokens],
    probabilities: Array.from(probabilities, (probability) => Number(probability.toPrecision(9))),
  };
}

/** Flattened runs as [first, end) pairs. */
export function pairsOf(runs: Int32Array): [number, number][] {
  return Array.from({ length: runs.length / 2 }, (_, k) => [
    runs[2 * k] as number,
    runs[2 * k + 1] as number,
  ]);
}
