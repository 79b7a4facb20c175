export interface Random {
  /** In [0, 1). */
  next(): number;
  /** In [first, last]. */
  integer(first: number, last: number): number;
  pick<Value>(values: readonly Value[]): Value;
}

/** Numbers that a seed repeats: mulberry32. */
export function randomOf(seed: number): Random {
  let state = seed >>> 0;
  const next = () => {
    state = (state + 0x6d2b79f5) >>> 0;
    let mixed = Math.imul(state ^ (state >>> 15), state | 1);
    mixed ^= mixed + Math.imul(mixed ^ (mixed >>> 7), mixed | 61);
    return ((mixed ^ (mixed >>> 14)) >>> 0) / 2 ** 32;
  };
  const integer = (first: number, last: number) => first + Math.floor(next() * (last - first + 1));
  const pick = <Value>(values: readonly Value[]) => values[integer(0, values.length - 1)] as Value;
  return { next, integer, pick };
}
