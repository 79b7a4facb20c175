/** Draws after which the older ones count half: pictures have easy parts and hard ones. */
const MEMORY = 32;

/** How guesses of a sequence have done lately, by their distance: steps beyond the first one that a row has to feed. */
export interface GuessRecord {
  /** Per distance: draws whose query was fed at it. The draw at distance 0 needs no guess. */
  readonly drawn: number[];
  /** Per distance: those of them that were final. */
  readonly final: number[];
}

export function noGuesses(): GuessRecord {
  return { drawn: [], final: [] };
}

export function recordDraw({ drawn, final }: GuessRecord, distance: number, isFinal: boolean): void {
  while (drawn.length <= distance) {
    drawn.push(0);
    final.push(0);
  }
  if ((drawn[distance] as number) >= MEMORY) {
    drawn[distance] = (drawn[distance] as number) / 2;
    final[distance] = (final[distance] as number) / 2;
  }
  drawn[distance] = (drawn[distance] as number) + 1;
  if (isFinal) final[distance] = (final[distance] as number) + 1;
}
