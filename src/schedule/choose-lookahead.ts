import { feedRanges } from "./plan-fixed.ts";
import type { SequenceState } from "./sequence-state.ts";

/** The ones that `auto` chooses from: a row of an image then feeds a power of two of queries. */
const LOOKAHEADS = [0, 1, 3, 7, 15, 31, 63, 127];

/** How much better a larger lookahead must promise to be: times are noisy, and the luckiest measurement looks best. */
const MARGIN = 1.05;
/** How often a first guess of which nothing is known yet is taken to hold, given that the one before it did. */
const EXPECTED_SHARE = 0.75;
/** How many draws that expectation weighs as much as. */
const EXPECTATION_WEIGHT = 2;

/** An image's part in a forward that is to be planned. */
export interface Participant {
  readonly state: SequenceState;
  /** Branches that run. */
  readonly branchCount: number;
  readonly lookahead: number | "auto";
}

/** Measured time of a forward of so many rows (queries x branches), in ms; undefined where there is none. */
export type RowCost = (rowCount: number) => number | undefined;

/**
 * The lookahead of the images of a forward that leave it to be chosen: the one that should finalise the most cells per
 * second. One whose cost was not measured is tried when it would be the best if its further rows cost as the last ones
 * before them do.
 */
export function chooseLookahead(participants: readonly Participant[], costOf: RowCost): number {
  let best = { lookahead: 0, rate: 0 };
  const measured: Measured[] = [];
  for (const lookahead of LOOKAHEADS) {
    const { rowCount, cellCount } = forecast(participants, lookahead);
    const cost = costOf(rowCount);
    const rate = cellCount / (cost ?? extrapolated(measured, rowCount));
    const isBest = rate > MARGIN * best.rate;
    if (isBest) best = { lookahead, rate };
    if (cost === undefined && isBest) break; // measure it before a larger one
    if (cost !== undefined) measured.push({ rowCount, cost });
  }
  return best.lookahead;
}

/** Rows of a forward: sequences with fewer queries than others are padded. */
export function countRows(
  parts: readonly { readonly queryCount: number; readonly branchCount: number }[],
): number {
  const queryCount = Math.max(...parts.map((part) => part.queryCount));
  return parts.reduce((count, { branchCount }) => count + queryCount * branchCount, 0);
}

/** Rows of a forward at a lookahead, and the cells that it should finalise. */
function forecast(participants: readonly Participant[], chosen: number) {
  let cellCount = 0;
  const parts = participants.map(({ state, branchCount, lookahead }) => {
    const limit = lookahead === "auto" ? chosen : lookahead;
    const shares = finalShares(state, limit);
    let queryCount = 0;
    for (const { first, end, distance } of feedRanges(state, limit)) {
      queryCount += end - first;
      for (let k = first; k < Math.min(end, state.grid.columns); k++)
        cellCount += shares[distance + k - first] as number;
    }
    return { queryCount, branchCount };
  });
  return { rowCount: countRows(parts), cellCount };
}

interface Measured {
  readonly rowCount: number;
  readonly cost: number;
}

/** The cost of more rows than were measured, on the line through the two largest measurements. */
function extrapolated(measured: readonly Measured[], rowCount: number): number {
  const last = measured.at(-1);
  if (last === undefined) return 0;
  const before = measured.at(-2);
  if (before === undefined || before.rowCount === last.rowCount) return last.cost;
  const slope = (last.cost - before.cost) / (last.rowCount - before.rowCount);
  return last.cost + Math.max(0, slope) * (rowCount - last.rowCount);
}

/** Per distance up to `limit`: the share of the draws at it that should be final. */
export function finalShares(
  { guessRecord }: Pick<SequenceState, "guessRecord">,
  limit: number,
): readonly number[] {
  const { drawn, final } = guessRecord;
  const shares = [1];
  for (let distance = 1; distance <= limit; distance++) {
    const expected = EXPECTED_SHARE * (shares[distance - 1] as number);
    const count = drawn[distance] ?? 0;
    const finalCount = final[distance] ?? 0;
    shares.push((finalCount + EXPECTATION_WEIGHT * expected) / (count + EXPECTATION_WEIGHT));
  }
  return shares;
}
