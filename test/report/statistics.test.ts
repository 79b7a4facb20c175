import { expect, test } from "vitest";
import { binomialError, bootstrapError, mean, standardDeviation } from "../../src/report/statistics.ts";

test("the bootstrap's error of a mean is the spread of the values over the root of their number", () => {
  const values = Array.from({ length: 60 }, (_, k) => (k * 37) % 60);
  const expected = standardDeviation(values) / Math.sqrt(values.length);
  // 1000 resamples leave an uncertainty of 1 / sqrt(2000), 2.2 %
  expect(bootstrapError(values) / expected).toBeGreaterThan(0.92);
  expect(bootstrapError(values) / expected).toBeLessThan(1.08);
});

test("equal values have no error, and the same values always the same one", () => {
  expect(bootstrapError([46, 46, 46])).toBe(0);
  expect(bootstrapError([1, 2, 5])).toBe(bootstrapError([1, 2, 5]));
});

test("the binomial error is the textbook's for many trials, and not zero at 0 % and 100 %", () => {
  expect(binomialError(5000, 10000)).toBeCloseTo(Math.sqrt(0.25 / 10000), 6);
  expect(binomialError(24, 24)).toBeGreaterThan(0.02);
  expect(binomialError(0, 24)).toBeCloseTo(binomialError(24, 24), 12);
});

test("means and standard deviations are those of all values", () => {
  expect(mean([1, 2, 6])).toBe(3);
  expect(standardDeviation([2, 4])).toBe(1);
});
