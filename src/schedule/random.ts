/**
 * Counter-based random numbers: Philox 4x32-10 (Salmon et al., "Parallel random numbers: as easy as 1, 2, 3", SC 2011).
 * A number depends only on the seed and on what it is for, never on the order of steps or on what else is in the batch.
 */
export interface RandomKey {
  readonly low: number;
  readonly high: number;
}

/** What a random number of a cell is for. */
export const PURPOSE = { token: 0, acceptance: 1, residual: 2 } as const;
export type Purpose = (typeof PURPOSE)[keyof typeof PURPOSE];

/** @param seed integer `0 .. 2^53-1` */
export function randomKey(seed: number): RandomKey {
  return { low: seed >>> 0, high: Math.floor(seed / 2 ** 32) >>> 0 };
}

/**
 * A number in [0, 1) with 53 random bits.
 * @param attempt counts repeated draws of the same cell for the same purpose
 */
export function uniform(key: RandomKey, row: number, column: number, purpose: Purpose, attempt = 0): number {
  const [first, second] = philox4x32(row, column, purpose, attempt, key.low, key.high);
  return ((first >>> 5) * 2 ** 26 + (second >>> 6)) / 2 ** 53;
}

/**
 * The noise of one token in a draw at `u`: exponentially distributed with mean 1. A hash, since a draw needs one for each
 * token; the worker makes the same ones (`execute/sampling.py`).
 */
export function exponentialNoise(u: number, token: number): number {
  return -Math.log1p(-(hash32(hash32(token + 1) ^ Math.floor(u * 2 ** 32)) + 0.5) / 2 ** 32);
}

/** MurmurHash3's finaliser (Austin Appleby, public domain). */
function hash32(value: number): number {
  value ^= value >>> 16;
  value = Math.imul(value, 0x85ebca6b);
  value ^= value >>> 13;
  value = Math.imul(value, 0xc2b2ae35);
  return (value ^ (value >>> 16)) >>> 0;
}

/** Ten rounds of Philox 4x32 on counter (c0..c3) and key (k0, k1), all unsigned 32-bit. */
export function philox4x32(
  c0: number,
  c1: number,
  c2: number,
  c3: number,
  k0: number,
  k1: number,
): [number, number, number, number] {
  for (let round = 0; round < 10; round++) {
    const high0 = multiplyHigh(0xd2511f53, c0);
    const low0 = Math.imul(0xd2511f53, c0);
    const high1 = multiplyHigh(0xcd9e8d57, c2);
    const low1 = Math.imul(0xcd9e8d57, c2);
    c0 = high1 ^ c1 ^ k0;
    c1 = low1;
    c2 = high0 ^ c3 ^ k1;
    c3 = low0;
    k0 = (k0 + 0x9e3779b9) | 0;
    k1 = (k1 + 0xbb67ae85) | 0;
  }
  return [c0 >>> 0, c1 >>> 0, c2 >>> 0, c3 >>> 0];
}

/** High 32 bits of the 64-bit product of two unsigned 32-bit integers. */
function multiplyHigh(a: number, b: number): number {
  const aHigh = a >>> 16;
  const aLow = a & 0xffff;
  const bHigh = (b >>> 16) & 0xffff;
  const bLow = b & 0xffff;
  const middle = aHigh * bLow + ((aLow * bLow) >>> 16);
  const carry = aLow * bHigh + (middle & 0xffff);
  return (aHigh * bHigh + Math.floor(middle / 0x10000) + Math.floor(carry / 0x10000)) | 0;
}
