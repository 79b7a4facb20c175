/** Queries after which the older ones count half: pictures have easy parts and hard ones. */
const MEMORY = 32;

/**
 * How queries have done lately of which all that they saw proved final, by their distance: steps beyond the first one
 * that their row has to feed. At distance 0 there is nothing to guess.
 */
export interface GuessRecord {
  /** Per distance: such queries. */
  readonly reached: number[];
  /** Per distance: those of them that were fed with the final token themselves. */
  readonly held: number[];
}

export function noGuesses(): GuessRecord {
  return { reached: [], held: [] };
}

export function recordGuess({ reached, held }: GuessRecord, distance: number, hasHeld: boolean): void {
  while (reached.length <= distance) {
    reached.push(0);
    held.push(0);
  }
  const weight = (reached[distance] as number) < MEMORY ? 1 : 0.5;
  reached[distance] = weight * (reached[distance] as number) + 1;
  held[distance] = weight * (held[distance] as number) + (hasHeld ? 1 : 0);
}
