import { randomKey, uniform } from "../schedule/random.ts";

const RESAMPLE_COUNT = 1000;
const SEED = 1;

export function mean(values: readonly number[]): number {
  return values.reduce((sum, value) => sum + value, 0) / values.length;
}

export function standardDeviation(values: readonly number[]): number {
  const center = mean(values);
  return Math.sqrt(mean(values.map((value) => (value - center) ** 2)));
}

/**
 * Standard error of a mean by the bootstrap: the spread of the means of sets of the same size, drawn from the values
 * with replacement (Efron 1979). The same values always give the same error.
 */
export function bootstrapError(values: readonly number[], resampleCount = RESAMPLE_COUNT): number {
  const key = randomKey(SEED);
  const means = Array.from({ length: resampleCount }, (_, resample) => {
    let sum = 0;
    for (let k = 0; k < values.length; k++) {
      sum += values[Math.floor(uniform(key, resample, k, 0) * values.length)] as number;
    }
    return sum / values.length;
  });
  return standardDeviation(means);
}

/**
 * Standard error of a share of `count` independent trials, from the share with one success and one failure added
 * (Laplace): a share of 100 % is not certain either.
 */
export function binomialError(successCount: number, count: number): number {
  const share = (successCount + 1) / (count + 2);
  return Math.sqrt((share * (1 - share)) / count);
}
