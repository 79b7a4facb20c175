import type { Distribution } from "../../src/schedule/distribution.ts";
import { drawToken } from "../../src/schedule/distribution.ts";
import type { QueryResult } from "../../src/schedule/step-outcome.ts";
import type { StepPlan } from "../../src/schedule/step-plan.ts";
import { HASH_START, mix } from "../../src/stub/law.ts";

/** How tokens follow from the context. */
export interface ContextLaw {
  readonly codeCount: number;
  /** The share of draws that give token 0 whatever the context is, so that guesses hold now and then. */
  readonly ease: number;
}

interface SlotContent {
  readonly step: number;
  readonly fingerprint: number;
}

/**
 * A model in which everything matters: what a slot holds is a hash of its token and of all that its query saw, and a
 * token is a hash of that. A query that sees a slot too many or too few, or a stale version of one, spoils all that
 * follows, as in a transformer.
 */
export class ContextModel {
  readonly #slots = new Map<number, SlotContent>();
  readonly #salt: number;
  /** Called with each query and what it saw, as `slot@step`, ascending. */
  onQuery: (query: string, seen: string) => void = () => {};

  constructor(salt: number) {
    this.#salt = salt;
  }

  /** Writes the queries of a forward; the fingerprint of each. */
  feed({ queries, runs }: Pick<StepPlan, "queries" | "runs">): readonly number[] {
    for (const { slot, step } of queries) this.#slots.set(slot, { step, fingerprint: 0 });
    return [...queries]
      .sort((a, b) => a.slot - b.slot)
      .map(({ slot, step, token }) => {
        const seen: string[] = [];
        let fingerprint = mix(mix(HASH_START, token), this.#salt);
        for (const other of slotsOf(runs)) {
          if (other >= slot) break;
          const content = this.#slots.get(other);
          if (content === undefined) throw new Error(`slot ${other} is to be seen, but was never fed`);
          if (content.step > step) continue;
          fingerprint = mix(mix(fingerprint, other), content.fingerprint);
          seen.push(`${other}@${content.step}`);
        }
        this.#slots.set(slot, { step, fingerprint });
        this.onQuery(`${slot}@${step}`, seen.join(" "));
        return fingerprint;
      });
  }
}

/** The answers to a forward's queries, from the hash of what they saw. Its queries ascend by slot. */
export function answer(
  { queries }: Pick<StepPlan, "queries">,
  states: readonly number[],
  { codeCount, ease }: ContextLaw,
  isGreedy: boolean,
): readonly QueryResult[] {
  return queries.map(({ want }, k): QueryResult => {
    if (want.type === "none") return undefined;
    const state = states[k] as number;
    const share = isGreedy ? Number((state >>> 8) % 1000 < 1000 * ease) : ease;
    const distribution = contextDistribution(share, 1 + (state % (codeCount - 1)));
    if (want.type === "distribution") return distribution;
    return { token: drawToken(distribution, want.uniform), probability: 1 };
  });
}

function contextDistribution(share: number, token: number): Distribution {
  if (share === 1) return { tokens: Int32Array.of(0), probabilities: Float32Array.of(1) };
  return { tokens: Int32Array.of(0, token), probabilities: Float32Array.of(share, 1 - share) };
}

function* slotsOf(runs: Int32Array): Generator<number> {
  for (let k = 0; k < runs.length; k += 2)
    for (let slot = runs[k] as number; slot < (runs[k + 1] as number); slot++) yield slot;
}
