import fc from "fast-check";
import { expect, test } from "vitest";
import {
  type Distribution,
  gumbelArgmax,
  probabilityOf,
  residual,
  tokenAt,
} from "../../src/schedule/distribution.ts";
import { PURPOSE, randomKey, uniform } from "../../src/schedule/random.ts";
import { chiSquare, chiSquareLimit, count, law } from "../support/chi-square.ts";

const distributions: fc.Arbitrary<Distribution> = fc
  .uniqueArray(fc.tuple(fc.nat(30), fc.integer({ min: 1, max: 100 })), {
    minLength: 1,
    maxLength: 12,
    selector: ([token]) => token,
  })
  .map((entries) => {
    const ascending = entries.sort(([a], [b]) => a - b);
    const total = ascending.reduce((sum, [, weight]) => sum + weight, 0);
    return law(
      ascending.map(([, weight]) => weight / total),
      ascending.map(([token]) => token),
    );
  });

test("a token's probability is found, and is 0 for tokens that were filtered out", () => {
  fc.assert(
    fc.property(distributions, fc.nat(31), (p, token) => {
      const at = p.tokens.indexOf(token);
      expect(probabilityOf(p, token)).toBe(at < 0 ? 0 : p.probabilities[at]);
    }),
  );
});

test("the token at a quantile is the lowest one whose cumulative probability exceeds it", () => {
  const p = law([0.25, 0.5, 0.25], [3, 8, 9]);
  expect([0, 0.249, 0.25, 0.5, 0.749, 0.75, 1 - 2 ** -53].map((u) => tokenAt(p, u))).toEqual([
    3, 3, 8, 8, 8, 9, 9,
  ]);
});

test("a token of probability 0 is never drawn, at the ends of the quantile range either", () => {
  const p = law([0, 0.5, 0, 0.5, 0], [1, 2, 3, 4, 5]);
  expect([0, 0.25, 0.5, 0.75, 1 - 2 ** -53].map((u) => tokenAt(p, u))).toEqual([2, 2, 4, 4, 4]);
});

test("probabilities that rounding left short of 1 or above it still give a token at every quantile", () => {
  expect(tokenAt(law([0.3, 0.3], [1, 2]), 0.999)).toBe(2);
  expect(tokenAt(law([0.3, 0.3], [1, 2]), 0.4)).toBe(1);
  expect(tokenAt(law([0.8, 0.8], [1, 2]), 0.6)).toBe(2);
  expect(tokenAt(law([0.8, 0.8], [1, 2]), 0.999)).toBe(2);
  expect(() => tokenAt(law([0, 0]), 0.5)).toThrow("empty");
});

test("the residual is norm(max(0, p - q)), against a dense computation", () => {
  fc.assert(
    fc.property(distributions, distributions, (p, q) => {
      const dense = Array.from({ length: 31 }, (_, token) =>
        Math.max(0, probabilityOf(p, token) - probabilityOf(q, token)),
      );
      const total = dense.reduce((sum, excess) => sum + excess, 0);
      const result = residual(p, q);
      if (total === 0) expect(result).toBeUndefined();
      for (const [token, excess] of dense.entries()) {
        expect(result === undefined ? 0 : probabilityOf(result, token)).toBeCloseTo(
          total === 0 ? 0 : excess / total,
          5,
        );
      }
    }),
  );
});

test("equal laws leave no residual, disjoint ones leave all of p", () => {
  const p = law([0.5, 0.5], [1, 2]);
  expect(residual(p, law([0.5, 0.5], [1, 2]))).toBeUndefined();
  expect(residual(p, law([1], [3]))).toEqual(p);
});

test("the Gumbel arg-max follows its law", () => {
  const p = law([0.4, 0.3, 0.15, 0.1, 0.05], [2, 5, 6, 9, 40]);
  const draws = Array.from({ length: 20_000 }, (_, seed) =>
    gumbelArgmax(p, (token) => uniform(randomKey(seed), 1, 0, PURPOSE.gumbel, token)),
  );
  expect(chiSquare(count(draws), p)).toBeLessThan(chiSquareLimit(4));
});

test("the Gumbel arg-max survives noise of exactly 0 and ignores impossible tokens", () => {
  expect(gumbelArgmax(law([1e-30, 0, 1]), () => 0)).toBe(2);
  expect(gumbelArgmax(law([1]), () => 0)).toBe(0);
  expect(() => gumbelArgmax(law([0]), () => 0.5)).toThrow("empty");
});
