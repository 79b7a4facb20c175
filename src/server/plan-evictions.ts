import { ZiparError } from "../errors.ts";

/** A loaded model. */
export interface Occupant {
  readonly name: string;
  readonly bytes: number;
  /** When it was last in use, in ms on the clock of `performance.now()`. */
  readonly usedAt: number;
  /** Nobody uses it, and it is the server's own. */
  readonly mayLeave: boolean;
}

/**
 * The models that leave so that another one fits into the budget: the longest unused first, and no more than must.
 * @throws ZiparError `out-of-memory`, with a 503 where others are in use, for which one can wait
 */
export function planEvictions(
  loaded: readonly Occupant[],
  { name, bytes }: { readonly name: string; readonly bytes: number },
  budgetBytes: number,
): readonly Occupant[] {
  if (bytes > budgetBytes) {
    throw new ZiparError({
      code: "out-of-memory",
      message: `${name} needs ${gibibytes(bytes)} and the memory budget is ${gibibytes(budgetBytes)}; raise it, or lower \`maxImages\``,
      details: { status: 500 },
    });
  }
  let total = loaded.reduce((sum, occupant) => sum + occupant.bytes, bytes);
  const leaving: Occupant[] = [];
  for (const occupant of loaded.filter(({ mayLeave }) => mayLeave).sort((a, b) => a.usedAt - b.usedAt)) {
    if (total <= budgetBytes) break;
    leaving.push(occupant);
    total -= occupant.bytes;
  }
  if (total <= budgetBytes) return leaving;
  throw new ZiparError({
    code: "out-of-memory",
    message: `there is no room for ${name} beside the models that are in use: it needs ${gibibytes(bytes)} of a budget of ${gibibytes(budgetBytes)}; try again later`,
    details: { status: 503 },
  });
}

function gibibytes(bytes: number): string {
  return `${(bytes / 2 ** 30).toFixed(1)} GiB`;
}
