import fc from "fast-check";
import { expect, test } from "vitest";
import { type Distribution, drawToken, probabilityOf, residual } from "../../src/schedule/distribution.ts";
import { exponentialNoise, PURPOSE, randomKey, uniform } from "../../src/schedule/random.ts";
import { chiSquare, chiSquareLimit, count, law } from "../support/chi-square.ts";
import { runs } from "../support/property-runs.ts";

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

/** The numbers of one cell under many seeds. */
const numbers = (count: number) =>
  Array.from({ length: count }, (_, seed) => uniform(randomKey(seed), 1, 0, PURPOSE.token));

test("draws follow their law", () => {
  const p = law([0.4, 0.3, 0.15, 0.1, 0.05], [2, 5, 6, 9, 40]);
  expect(chiSquare(count(numbers(20_000).map((u) => drawToken(p, u))), p)).toBeLessThan(chiSquareLimit(4));
  const many = law(new Array(500).fill(1 / 500));
  expect(chiSquare(count(numbers(50_000).map((u) => drawToken(many, u))), many)).toBeLessThan(
    chiSquareLimit(499),
  );
});

test("draws of neighbouring cells do not depend on each other", () => {
  const p = law([0.5, 0.3, 0.2]);
  const pairs = Array.from({ length: 20_000 }, (_, k) => {
    const at = (column: number) => drawToken(p, uniform(randomKey(7), k, column, PURPOSE.token));
    return 3 * at(0) + at(1);
  });
  const both = law([0.25, 0.15, 0.1, 0.15, 0.09, 0.06, 0.1, 0.06, 0.04]);
  expect(chiSquare(count(pairs), both)).toBeLessThan(chiSquareLimit(8));
});

test("one number draws the same token from two laws with probability (1 - d) / (1 + d) at least, d their total variation distance", () => {
  const trials = 4000;
  fc.assert(
    fc.property(distributions, distributions, (p, q) => {
      let shared = 0;
      for (let token = 0; token <= 30; token++)
        shared += Math.min(probabilityOf(p, token), probabilityOf(q, token));
      const bound = shared / (2 - shared);
      const same = numbers(trials).filter((u) => drawToken(p, u) === drawToken(q, u)).length / trials;
      expect(same).toBeGreaterThan(bound - 4 * Math.sqrt(0.25 / trials));
      expect(same).toBeLessThan(shared + 4 * Math.sqrt(0.25 / trials));
    }),
    { numRuns: runs(40), seed: 1 },
  );
});

test("tokens of probability 0 are never drawn, and a law need not sum to 1", () => {
  const p = law([0, 0.5, 0, 0.5, 0], [1, 2, 3, 4, 5]);
  const small = law([0.1, 0.1], [2, 4]);
  for (const u of [0, 0.25, 0.5, 0.75, 1 - 2 ** -53, ...numbers(100)]) {
    expect([2, 4]).toContain(drawToken(p, u));
    expect(drawToken(small, u)).toBe(drawToken(p, u));
  }
  expect(() => drawToken(law([0, 0]), 0.5)).toThrow("empty");
});

test("the noise of a token is the worker's", () => {
  // python-worker/tests/test_sampling.py has the same numbers
  expect(exponentialNoise(0, 0)).toBeCloseTo(0.20732694297096382, 14);
  expect(exponentialNoise(0.5, 0)).toBeCloseTo(0.9790259218934978, 14);
  expect(exponentialNoise(0.999999999, 16383)).toBeCloseTo(3.5944564658219407, 14);
  expect(exponentialNoise(1 - 2 ** -53, 2 ** 24)).toBeCloseTo(1.632752634872084, 14);
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
