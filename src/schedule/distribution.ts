import { exponentialNoise } from "./random.ts";

/** A sampling distribution after guidance, temperature, top-k and top-p: tokens ascending, probabilities summing to 1. */
export interface Distribution {
  readonly tokens: Int32Array;
  readonly probabilities: Float32Array;
}

export function probabilityOf({ tokens, probabilities }: Distribution, token: number): number {
  let low = 0;
  let high = tokens.length;
  while (low < high) {
    const middle = (low + high) >>> 1;
    if ((tokens[middle] as number) < token) low = middle + 1;
    else high = middle;
  }
  return tokens[low] === token ? (probabilities[low] as number) : 0;
}

/**
 * An exact draw from a distribution: the token with the largest probability divided by its own exponential noise, which
 * is Gumbel's arg-max. The same number draws the same token from two distributions with probability (1 - d) / (1 + d) or
 * more, d their total variation distance (Daliri, Musco and Suresh, arXiv 2408.07978).
 * @param u in [0, 1); the noise of every token is made from it
 */
export function drawToken({ tokens, probabilities }: Distribution, u: number): number {
  let best: number | undefined;
  let bestScore = 0;
  for (let k = 0; k < tokens.length; k++) {
    const token = tokens[k] as number;
    const score = (probabilities[k] as number) / exponentialNoise(u, token);
    if (score <= bestScore) continue;
    best = token;
    bestScore = score;
  }
  if (best === undefined) throw new Error("drawToken: the distribution is empty");
  return best;
}

/**
 * `norm(max(0, p - q))`, the law of the token that replaces a rejected draft (Leviathan et al. 2023, section 2.3).
 * `undefined` where p nowhere exceeds q, which rounding can cause when both are equal.
 */
export function residual(p: Distribution, q: Distribution): Distribution | undefined {
  const probabilities = new Float32Array(p.tokens.length);
  let total = 0;
  let k = 0;
  for (let i = 0; i < p.tokens.length; i++) {
    const token = p.tokens[i] as number;
    while (k < q.tokens.length && (q.tokens[k] as number) < token) k++;
    const inDraft = q.tokens[k] === token ? (q.probabilities[k] as number) : 0;
    const excess = Math.max(0, (p.probabilities[i] as number) - inDraft);
    probabilities[i] = excess;
    total += excess;
  }
  if (total <= 0) return undefined;
  for (let i = 0; i < probabilities.length; i++) probabilities[i] = (probabilities[i] as number) / total;
  return { tokens: p.tokens, probabilities };
}
