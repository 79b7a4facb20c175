import { ZiparError } from "../errors.ts";
import { planRebuild, REBUILD_QUERIES, type RebuildForward } from "../schedule/rebuild.ts";
import { decodedIn, type SequenceState } from "../schedule/sequence-state.ts";
import type { ForwardStep, Sampling, Worker } from "./worker.ts";

/** A sequence whose prompt a worker holds, and of which it lacks the K/V of some branches. */
export interface LackingSequence {
  readonly sequence: number;
  readonly state: SequenceState;
  /** The branches that are rebuilt. */
  readonly branches: readonly number[];
  readonly sampling: Sampling;
}

export interface Rebuilt {
  readonly forwardCount: number;
  /** What could not be rebuilt, and why. */
  readonly failures: ReadonlyMap<LackingSequence, unknown>;
}

/**
 * Writes the K/V of sequences again, in forwards that they share. Where memory does not suffice the forwards become
 * smaller, then the sequences fewer. Never rejects; when the worker is lost, all of them fail.
 */
export async function rebuild(
  worker: Worker,
  sequences: readonly LackingSequence[],
  queryCount = REBUILD_QUERIES * 4,
): Promise<Rebuilt> {
  if (sequences.length === 0) return { forwardCount: 0, failures: new Map() };
  const perSequence = Math.max(1, Math.min(REBUILD_QUERIES, Math.floor(queryCount / sequences.length)));
  const plans = sequences.map(({ state }) => planRebuild(state.fed, perSequence));
  const forwardCount = Math.max(...plans.map((plan) => plan.length));
  try {
    for (let k = 0; k < forwardCount; k++) {
      await worker.forward(
        sequences.flatMap((sequence, index) => {
          const part = plans[index]?.[k];
          return part === undefined ? [] : [rebuildStep(sequence, part)];
        }),
      );
    }
    return { forwardCount, failures: new Map() };
  } catch (error) {
    // Writing K/V again from the first forward on does no harm: no slot is read before it is written.
    if (isOutOfMemory(error) && perSequence > 1) {
      return rebuild(worker, sequences, Math.floor(queryCount / 4));
    }
    const [only] = sequences;
    if (sequences.length === 1 && only !== undefined)
      return { forwardCount: 0, failures: new Map([[only, error]]) };
    const half = Math.ceil(sequences.length / 2);
    const first = await rebuild(worker, sequences.slice(0, half), queryCount);
    const second = await rebuild(worker, sequences.slice(half), queryCount);
    return {
      forwardCount: first.forwardCount + second.forwardCount,
      failures: new Map([...first.failures, ...second.failures]),
    };
  }
}

function rebuildStep(
  { sequence, sampling, branches }: LackingSequence,
  { queries, runs, steps }: RebuildForward,
): ForwardStep {
  return { sequence, plan: { queries, runs }, sampling, branches, steps };
}

export function isOutOfMemory(error: unknown): boolean {
  return ZiparError.is(error) && error.code === "out-of-memory";
}

/** The error with what was decoded before it, as `details.decoded`: rows of tokens, -1 where there is none. */
export function withDecoded(error: unknown, state: SequenceState | undefined): unknown {
  if (!ZiparError.is(error) || state === undefined) return error;
  const { rows, columns } = state.grid;
  const decoded = Array.from({ length: rows }, (_, row) =>
    Array.from({ length: columns }, (_, column) =>
      column < decodedIn(state, row) ? (state.tokens[row * columns + column] as number) : -1,
    ),
  );
  const { code, message, details, cause } = error;
  return new ZiparError({ code, message, details: { ...details, decoded }, cause });
}

/** A worker was lost several times in a row over the same work. */
export function lostTooOften(what: string, count: number, reason: ZiparError): ZiparError {
  return new ZiparError({
    code: "worker-died",
    message: `${what} has cost ${count} workers in a row and is given up; the last one: ${reason.message}`,
    details: reason.details,
    cause: reason,
  });
}
