import { ZiparError } from "../errors.ts";
import { planRebuild, REBUILD_QUERIES, type RebuildForward } from "../schedule/rebuild.ts";
import type { SequenceState } from "../schedule/sequence-state.ts";
import type { LiveImage } from "./image.ts";
import type { ForwardStep, Sampling, Worker } from "./worker.ts";
import { isSuspect } from "./worker-lost.ts";

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
  /** Sequences that could not be rebuilt, and why. */
  readonly failures: ReadonlyMap<number, unknown>;
}

/**
 * Writes the K/V of sequences again, in forwards that they share. Where memory does not suffice the forwards become
 * smaller, then the sequences fewer. Rejects only when the worker is lost.
 */
export async function rebuildCache(
  worker: Worker,
  sequences: readonly LackingSequence[],
  queryCount = REBUILD_QUERIES * 4,
): Promise<Rebuilt> {
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
    if (worker.failure() !== undefined) throw error;
    // Writing K/V again from the first forward on does no harm: no slot is read before it is written.
    if (isOutOfMemory(error) && perSequence > 1)
      return rebuildCache(worker, sequences, Math.floor(queryCount / 4));
    const [only] = sequences;
    if (sequences.length === 1 && only !== undefined)
      return { forwardCount: 0, failures: new Map([[only.sequence, error]]) };
    const half = Math.ceil(sequences.length / 2);
    const first = await rebuildCache(worker, sequences.slice(0, half), queryCount);
    const second = await rebuildCache(worker, sequences.slice(half), queryCount);
    return {
      forwardCount: first.forwardCount + second.forwardCount,
      failures: new Map([...first.failures, ...second.failures]),
    };
  }
}

/** Images whose K/V are rebuilt together. One that has cost workers is alone, to see whether it is at fault. */
export function rebuildGroups(lacking: readonly LiveImage[]): readonly (readonly LiveImage[])[] {
  const suspects = lacking.filter(({ image }) => isSuspect(image));
  const others = lacking.filter(({ image }) => !isSuspect(image));
  return [others, ...suspects.map((live) => [live])].filter((group) => group.length > 0);
}

export function rebuildRequest(
  { sequence, state, image }: LiveImage,
  branches: readonly number[],
): LackingSequence {
  return { sequence, state, branches, sampling: image.job.options.sampling };
}

function rebuildStep({ sequence, sampling, branches }: LackingSequence, plan: RebuildForward): ForwardStep {
  return { sequence, plan, sampling, branches };
}

export function isOutOfMemory(error: unknown): boolean {
  return ZiparError.is(error) && error.code === "out-of-memory";
}
