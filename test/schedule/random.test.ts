import fc from "fast-check";
import { describe, expect, test } from "vitest";
import { exponentialNoise, PURPOSE, philox4x32, randomKey, uniform } from "../../src/schedule/random.ts";

// Known answers of philox4x32-10 from Random123's kat_vectors
const KNOWN: readonly [counter: number[], key: number[], answer: number[]][] = [
  [
    [0, 0, 0, 0],
    [0, 0],
    [0x6627e8d5, 0xe169c58d, 0xbc57ac4c, 0x9b00dbd8],
  ],
  [
    [0xffffffff, 0xffffffff, 0xffffffff, 0xffffffff],
    [0xffffffff, 0xffffffff],
    [0x408f276d, 0x41c83b0e, 0xa20bc7c6, 0x6d5451fd],
  ],
  [
    [0x243f6a88, 0x85a308d3, 0x13198a2e, 0x03707344],
    [0xa4093822, 0x299f31d0],
    [0xd16cfe09, 0x94fdcceb, 0x5001e420, 0x24126ea1],
  ],
];

test.each(KNOWN)(
  "Philox 4x32-10 gives the known answer for counter %j and key %j",
  (counter, key, answer) => {
    const [c0, c1, c2, c3] = counter as [number, number, number, number];
    const [k0, k1] = key as [number, number];
    expect(philox4x32(c0, c1, c2, c3, k0, k1)).toEqual(answer);
  },
);

test("a seed above 32 bits uses both halves of the key", () => {
  expect(randomKey(2 ** 32 + 5)).toEqual({ low: 5, high: 1 });
  expect(randomKey(Number.MAX_SAFE_INTEGER)).toEqual({ low: 0xffffffff, high: 2 ** 21 - 1 });
});

test("every number lies in [0, 1)", () => {
  const natural = fc.nat({ max: 2 ** 31 - 1 });
  fc.assert(
    fc.property(fc.maxSafeNat(), natural, natural, natural, (seed, row, column, attempt) => {
      const u = uniform(randomKey(seed), row, column, PURPOSE.residual, attempt);
      return u >= 0 && u < 1;
    }),
    { seed: 1 },
  );
});

describe("the numbers are uniform", () => {
  const key = randomKey(2026);
  const streams: Record<string, (k: number) => number> = {
    "over cells": (k) => uniform(key, Math.floor(k / 100), k % 100, PURPOSE.token),
    "over attempts": (k) => uniform(key, 1, 0, PURPOSE.residual, k),
    "over seeds": (k) => uniform(randomKey(k), 3, 0, PURPOSE.acceptance),
    "over the tokens of a draw": (k) => Math.exp(-exponentialNoise(uniform(key, 3, 0, PURPOSE.token), k)),
    "over the draws of a token": (k) => Math.exp(-exponentialNoise(uniform(key, k, 0, PURPOSE.token), 7)),
  };
  test.each(Object.keys(streams))("%s", (name) => {
    const count = 20_000;
    const draw = streams[name] as (k: number) => number;
    const numbers = Array.from({ length: count }, (_, k) => draw(k));
    const bins = new Array<number>(64).fill(0);
    for (const u of numbers) bins[Math.floor(u * 64)] = (bins[Math.floor(u * 64)] as number) + 1;
    const statistic = bins.reduce((sum, seen) => sum + (seen - count / 64) ** 2 / (count / 64), 0);
    expect(statistic).toBeLessThan(103.5); // upper 0.1 % point with 63 degrees of freedom
    const products = numbers.slice(1).map((u, k) => (u - 0.5) * ((numbers[k] as number) - 0.5));
    const correlation = (12 * products.reduce((sum, product) => sum + product, 0)) / products.length;
    expect(Math.abs(correlation)).toBeLessThan(4 / Math.sqrt(count));
  });
});

test("a cell's numbers for different purposes and attempts differ", () => {
  const key = randomKey(7);
  const numbers = Object.values(PURPOSE).flatMap((purpose) =>
    [0, 1, 2].map((attempt) => uniform(key, 4, 0, purpose, attempt)),
  );
  expect(new Set(numbers).size).toBe(numbers.length);
});
