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

/** The token at quantile `u` of [0, 1): the lowest one whose cumulative probability exceeds it. */
export function tokenAt({ tokens, probabilities }: Distribution, u: number): number {
  let total = 0;
  for (const probability of probabilities) total += probability;
  const target = u * total;
  let cumulative = 0;
  let last: number | undefined;
  for (let k = 0; k < tokens.length; k++) {
    const probability = probabilities[k] as number;
    if (probability <= 0) continue;
    cumulative += probability;
    last = tokens[k] as number;
    if (cumulative > target) return last;
  }
  if (last === undefined) throw new Error("tokenAt: the distribution is empty");
  return last; // rounding left the target at the very end
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

/** `argmax(log p + G)` with standard Gumbel noise made from one uniform number per token: an exact draw from p. */
export function gumbelArgmax(
  { tokens, probabilities }: Distribution,
  uniformOf: (token: number) => number,
): number {
  let best: number | undefined;
  let bestScore = Number.NEGATIVE_INFINITY;
  for (let k = 0; k < tokens.length; k++) {
    const probability = probabilities[k] as number;
    if (probability <= 0) continue;
    const token = tokens[k] as number;
    const score = Math.log(probability) - Math.log(-Math.log(uniformOf(token) || 2 ** -54));
    if (score > bestScore) {
      bestScore = score;
      best = token;
    }
  }
  if (best === undefined) throw new Error("gumbelArgmax: the distribution is empty");
  return best;
}
