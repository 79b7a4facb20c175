import { belowPrefix, plainForwardCount } from "./grid.ts";
import { plainStep, queryCount, stepOf, windowSize } from "./plain-order.ts";
import { type FeedRange, feedRanges } from "./plan-fixed.ts";
import type { SequenceState } from "./sequence-state.ts";

/** The ones that `auto` chooses from: a row of an image then feeds a power of two of queries. */
const LOOKAHEADS = [0, 1, 3, 7, 15, 31, 63, 127];

/** How much better a larger lookahead must promise to be: times are noisy, and the luckiest measurement looks best. */
const MARGIN = 1.05;
/** The same for guesses at all. */
const FIRST_MARGIN = 1.15;
/** And in a batch: its images end at different times, and the last one's forwards cost little less than all of theirs. */
const BATCH_MARGIN = 1.3;
/** The share of guesses that is taken to hold while nothing is known, where those before them held. */
const EXPECTED_SHARE = 0.85;
/** How many guesses that expectation weighs as much as. */
const EXPECTATION_WEIGHT = 2;

const NEGLIGIBLE = 0.01;

/** An image's part in a forward that is to be planned. */
export interface Participant {
  readonly state: SequenceState;
  /** Branches that run. */
  readonly branchCount: number;
  readonly lookahead: number | "auto";
}

/** The time of a forward of so many rows (queries x branches); undefined where nothing is known of any. */
export type RowCost = (rowCount: number) => ForecastCost | undefined;

export interface ForecastCost {
  readonly ms: number;
  /** Or else expected from forwards with other rows. */
  readonly isMeasured: boolean;
}

/**
 * The lookahead of the images of a forward that leave it to be chosen: the one that should bring them the most cells
 * nearer to their end per second. One whose cost was not measured is tried when it should be the best.
 */
export function chooseLookahead(participants: readonly Participant[], costOf: RowCost): number {
  const firstMargin = participants.length > 1 ? BATCH_MARGIN : FIRST_MARGIN;
  let best = { lookahead: 0, rate: 0 };
  for (const lookahead of LOOKAHEADS) {
    const { rowCount, cellCount } = forecast(participants, lookahead);
    const cost = costOf(rowCount);
    if (cost === undefined) return lookahead; // the first forward of all
    const rate = cellCount / cost.ms;
    if (rate <= (best.lookahead === 0 ? firstMargin : MARGIN) * best.rate) continue;
    best = { lookahead, rate };
    if (!cost.isMeasured) break; // measure it before a larger one
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

/** Rows of a forward at a lookahead, and the cells that it should bring an image nearer to its end. */
function forecast(participants: readonly Participant[], chosen: number) {
  let cellCount = 0;
  const parts = participants.map(({ state, branchCount, lookahead }) => {
    const limit = lookahead === "auto" ? chosen : lookahead;
    const ranges = [...feedRanges(state, limit)];
    const rest = belowPrefix(state.grid, state.prefixRows);
    const cellsPerStep = (rest.rows * rest.columns) / plainForwardCount(rest, windowSize(state));
    cellCount += expectedSteps(state, ranges, finalShares(state, limit)) * cellsPerStep;
    return { queryCount: ranges.reduce((count, { first, end }) => count + end - first, 0), branchCount };
  });
  return { rowCount: countRows(parts), cellCount };
}

/**
 * Steps of plain decoding that a forward should complete. A step is complete when all of its rows are past it, so rows
 * that are behind count and those that are ahead do not: an image ends with its slowest row.
 */
function expectedSteps(
  state: SequenceState,
  ranges: readonly FeedRange[],
  shares: readonly number[],
): number {
  const share = (distance: number) => shares[distance] as number;
  const stepCount = plainForwardCount(state.grid, windowSize(state));
  let expected = 0;
  for (let step = plainStep(state); step < stepCount; step++) {
    let probability = 1;
    for (const { row, first, end, from } of ranges) {
      const firstStep = stepOf(state, row, first);
      if (firstStep > step) continue;
      const lastStep = Math.min(step, stepOf(state, row, queryCount(state, row) - 1));
      if (lastStep >= stepOf(state, row, end)) return expected; // it is not fed
      probability *= share(lastStep - from) / share(firstStep - from);
    }
    expected += probability;
    if (probability < NEGLIGIBLE) break;
  }
  return expected;
}

/**
 * Per distance up to `limit`: the share of the draws at it that should be final, for which all guesses up to it must
 * hold.
 */
export function finalShares(
  { guessRecord }: Pick<SequenceState, "guessRecord">,
  limit: number,
): readonly number[] {
  const { reached, held } = guessRecord;
  const shares = [1];
  for (let distance = 1; distance <= limit; distance++) {
    const count = reached[distance] ?? 0;
    const heldCount = held[distance] ?? 0;
    const hold = (heldCount + EXPECTATION_WEIGHT * EXPECTED_SHARE) / (count + EXPECTATION_WEIGHT);
    shares.push(hold * (shares[distance - 1] as number));
  }
  return shares;
}
