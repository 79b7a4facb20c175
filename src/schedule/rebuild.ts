import { type FedQueries, fedBySteps } from "./fed-queries.ts";
import { NOTHING, type Query } from "./step-plan.ts";

/** One forward that writes lost K/V again. Nothing is wanted of its queries. */
export interface RebuildForward {
  /** In the order of their steps. */
  readonly queries: readonly Query[];
  /** Written slots once this forward has run, as runs [first, end), flattened. */
  readonly runs: Int32Array;
}

/** What a forward may hold. */
export const REBUILD_QUERIES = 1024;

/**
 * Plans the forwards that give an empty cache the K/V that a sequence had after its last forward: as few as visibility
 * allows, each query seeing exactly the versions of slots that it saw at first.
 *
 * A step that holds more than a forward may is dealt out in the order of its slots, as queries see those before their own.
 *
 * A slot may be fed more than once (a surrogate and the true row end, a refreshed row end, the row start of a draft).
 * One forward holds one version of a slot, so wherever a query saw a version that was replaced later, it must run in an
 * earlier forward than the replacement: such a pair of steps asks for a cut between them. A version that no query with
 * lasting K/V has seen is left out, and asks for nothing. Taking steps until the next one would break a pair is optimal,
 * as for every covering of intervals by points.
 */
export function planRebuild(fed: FedQueries, queriesPerForward = REBUILD_QUERIES): readonly RebuildForward[] {
  const lasting = lastingQueries(fed);
  const forwards: RebuildForward[] = [];
  const written = new Set<number>();
  let batch = emptyBatch();
  for (const [step, queries] of partsOf(lasting.indices, queriesPerForward)) {
    const isFull = batch.queries.length > 0 && batch.queries.length + queries.length > queriesPerForward;
    if (isFull || (lasting.cutAfter[step] as number) >= batch.firstStep) {
      closeBatch(batch, written, forwards);
      batch = emptyBatch();
    }
    batch.firstStep = Math.min(batch.firstStep, step);
    for (const index of queries) {
      const slot = fed.slots[index] as number;
      batch.queries.push({
        kind: "refresh",
        token: fed.tokens[index] as number,
        slot,
        step,
        want: NOTHING,
      });
    }
  }
  closeBatch(batch, written, forwards);
  return forwards;
}

/** Each step with its queries, several times where it has more of them than one forward may hold. */
function* partsOf(
  bySteps: readonly (readonly number[])[],
  size: number,
): Generator<readonly [step: number, queries: readonly number[]]> {
  for (const [step, queries] of bySteps.entries())
    for (let first = 0; first < queries.length; first += size)
      yield [step, queries.slice(first, first + size)];
}

interface Batch {
  firstStep: number;
  readonly queries: Query[];
}

function emptyBatch(): Batch {
  return { firstStep: Number.POSITIVE_INFINITY, queries: [] };
}

function closeBatch({ queries }: Batch, written: Set<number>, forwards: RebuildForward[]): void {
  if (queries.length === 0) return;
  for (const { slot } of queries) written.add(slot);
  forwards.push({ queries, runs: runsOf(written) });
}

interface LastingQueries {
  /** Per step: indices into the fed queries whose K/V matter to what the sequence goes on with. */
  readonly indices: readonly (readonly number[])[];
  /** Per step: the last step that must not share a forward with it, since it saw what this one overwrites; or -1. */
  readonly cutAfter: readonly number[];
}

/**
 * Walks backwards: K/V last if they are the newest of their slot, or if a query with lasting K/V saw them. Queries see
 * every slot below their own, so of each step only its highest lasting slot counts.
 */
function lastingQueries(fed: FedQueries): LastingQueries {
  const bySteps = fedBySteps(fed);
  const stepCount = bySteps.length;
  const indices = new Array<readonly number[]>(stepCount).fill([]);
  const highest = new Array<number>(stepCount).fill(-1);
  const cutAfter = new Array<number>(stepCount).fill(-1);
  const rewrittenAt = new Map<number, number>();
  const replacedAt = new Map<number, number>(); // by K/V that last themselves
  for (let step = stepCount - 1; step >= 0; step--) {
    const lasting: number[] = [];
    const descending = [...(bySteps[step] as readonly number[])].sort(
      (a, b) => (fed.slots[b] as number) - (fed.slots[a] as number),
    );
    for (const index of descending) {
      const slot = fed.slots[index] as number;
      const rewrite = rewrittenAt.get(slot);
      const lastSeen = rewrite === undefined ? step : lastStepAbove(highest, slot, step, rewrite);
      if (lastSeen === undefined) continue; // nobody whose K/V last has seen this version
      const replaced = replacedAt.get(slot);
      if (replaced !== undefined) cutAfter[replaced] = Math.max(cutAfter[replaced] as number, lastSeen);
      replacedAt.set(slot, step);
      lasting.push(index);
      highest[step] = Math.max(highest[step] as number, slot);
    }
    for (const index of descending) rewrittenAt.set(fed.slots[index] as number, step);
    indices[step] = lasting.reverse();
  }
  return { indices, cutAfter };
}

/** The last step in [from, end) with a lasting query above `slot`. */
function lastStepAbove(
  highest: readonly number[],
  slot: number,
  from: number,
  end: number,
): number | undefined {
  for (let step = end - 1; step >= from; step--) if ((highest[step] as number) > slot) return step;
  return undefined;
}

function runsOf(slots: ReadonlySet<number>): Int32Array {
  const runs: number[] = [];
  for (const slot of [...slots].sort((a, b) => a - b)) {
    if (runs.length > 0 && runs[runs.length - 1] === slot) runs[runs.length - 1] = slot + 1;
    else runs.push(slot, slot + 1);
  }
  return Int32Array.from(runs);
}
