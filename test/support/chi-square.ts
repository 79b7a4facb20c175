import type { Distribution } from "../../src/schedule/distribution.ts";

/** Pearson's statistic of observed tokens against a law. Tokens that the law forbids make it infinite. */
export function chiSquare(observed: ReadonlyMap<number, number>, law: Distribution): number {
  let count = 0;
  for (const n of observed.values()) count += n;
  let statistic = 0;
  const allowed = new Set<number>();
  for (const [k, token] of law.tokens.entries()) {
    const expected = count * (law.probabilities[k] as number);
    const seen = observed.get(token) ?? 0;
    if (expected === 0) continue;
    allowed.add(token);
    statistic += (seen - expected) ** 2 / expected;
  }
  for (const [token, n] of observed) if (n > 0 && !allowed.has(token)) return Number.POSITIVE_INFINITY;
  return statistic;
}

/** Upper 0.1 % point of the chi-square law (Wilson and Hilferty 1931; within 1 % from 3 degrees of freedom on). */
export function chiSquareLimit(degreesOfFreedom: number): number {
  const spread = 2 / (9 * degreesOfFreedom);
  return degreesOfFreedom * (1 - spread + 3.0902 * Math.sqrt(spread)) ** 3;
}

export function count(tokens: Iterable<number>): Map<number, number> {
  const counts = new Map<number, number>();
  for (const token of tokens) counts.set(token, (counts.get(token) ?? 0) + 1);
  return counts;
}

export function law(probabilities: readonly number[], tokens?: readonly number[]): Distribution {
  return {
    tokens: Int32Array.from(tokens ?? probabilities.keys()),
    probabilities: Float32Array.from(probabilities),
  };
}
