/** Numbers that a seed repeats. */
export function randomOf(seed) {
  let state = seed >>> 0;
  /** mulberry32, in [0, 1). */
  const next = () => {
    state = (state + 0x6d2b79f5) >>> 0;
    let mixed = Math.imul(state ^ (state >>> 15), state | 1);
    mixed ^= mixed + Math.imul(mixed ^ (mixed >>> 7), mixed | 61);
    return ((mixed ^ (mixed >>> 14)) >>> 0) / 2 ** 32;
  };
  const integer = (first, last) => first + Math.floor(next() * (last - first + 1));
  return { next, integer, pick: (values) => values[integer(0, values.length - 1)] };
}
