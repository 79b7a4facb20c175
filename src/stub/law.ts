import type { Sampling } from "../decode/worker.ts";
import type { Distribution } from "../schedule/distribution.ts";

/**
 * The stub model's law, the same as in `python-worker/zipar_worker/stub/law.py`: a token's distribution is a hash of its
 * cell, its class, the token to the left and the visible tokens of the row above from its own column to `reach - 1`
 * further right. Nothing else matters, so every window of at least `reach` gives next-token order's tokens.
 */
export const HASH_START = 0x811c9dc5;

/** Four candidates with these weights; equal tokens merge. */
const WEIGHTS = [8, 4, 2, 1];
const CANDIDATE_SALT = 0x51ed;

/** One round of the 32-bit hash. */
export function mix(state: number, value: number): number {
  const mixed = Math.imul(state ^ value, 0x9e3779b1) >>> 0;
  return (mixed ^ (mixed >>> 15)) >>> 0;
}

/** The distribution of a hashed context after temperature, top-k and top-p. */
export function stubDistribution(state: number, codeCount: number, sampling: Sampling): Distribution {
  const weights = new Map<number, number>();
  for (const [k, weight] of WEIGHTS.entries()) {
    const token = mix(state, CANDIDATE_SALT + k) % codeCount;
    weights.set(token, (weights.get(token) ?? 0) + weight);
  }
  const heaviestFirst = [...weights].sort(([a, x], [b, y]) => y - x || a - b);
  const [heaviest] = heaviestFirst;
  if (heaviest === undefined) throw new Error("stubDistribution: no candidates");
  if (sampling.temperature === 0) return fromEntries([[heaviest[0], 1]]);
  const scaled = heaviestFirst.map(([token, weight]): [number, number] => [
    token,
    (weight / heaviest[1]) ** (1 / sampling.temperature),
  ]);
  return fromEntries(nucleus(topK(scaled, sampling.topK), sampling.topP));
}

/** Keeps every entry at least as heavy as the k-th heaviest. */
function topK(heaviestFirst: [number, number][], k: number): [number, number][] {
  const threshold = k === 0 ? undefined : heaviestFirst[k - 1];
  return threshold === undefined
    ? heaviestFirst
    : heaviestFirst.filter(([, weight]) => weight >= threshold[1]);
}

/** The smallest set of the heaviest entries whose share reaches `p`. */
function nucleus(heaviestFirst: [number, number][], p: number): [number, number][] {
  if (p === 1) return heaviestFirst;
  const total = heaviestFirst.reduce((sum, [, weight]) => sum + weight, 0);
  let mass = 0;
  const end = heaviestFirst.findIndex(([, weight]) => {
    mass += weight / total;
    return mass >= p;
  });
  return end < 0 ? heaviestFirst : heaviestFirst.slice(0, end + 1);
}

function fromEntries(entries: [number, number][]): Distribution {
  const total = entries.reduce((sum, [, weight]) => sum + weight, 0);
  const ascending = [...entries].sort(([a], [b]) => a - b);
  return {
    tokens: Int32Array.from(ascending, ([token]) => token),
    probabilities: Float32Array.from(ascending, ([, weight]) => weight / total),
  };
}
