import type { GuidanceInterval } from "./guidance-interval.ts";
import { decodedBefore, plainForwardCount, plainStep, windowSize } from "./plain-order.ts";
import type { SequenceState } from "./sequence-state.ts";

/**
 * Whether the next forward of a sequence is guided: by the share of cells that plain decoding has decoded before it, so
 * the same in every batch and at every lookahead.
 */
export function isGuided(state: SequenceState): boolean {
  const { window, decodedCount, tokens, guidanceInterval } = state;
  const decoded =
    window.kind === "fixed" ? decodedBefore(state, window.size, plainStep(state)) : decodedCount;
  return isWithin(guidanceInterval, decoded / tokens.length);
}

export function isWithin([from, to]: GuidanceInterval, share: number): boolean {
  return from <= share && share < to;
}

/** Under a fixed window: the first step after the plain one at which guidance may be switched. */
export function nextSwitch(state: SequenceState): number {
  const now = plainStep(state);
  const steps = state.guidanceInterval.map((share) => firstStepAt(state, share));
  return Math.min(...steps.map((step) => (step > now ? step : Number.POSITIVE_INFINITY)));
}

/** The first step before which plain decoding has decoded a share of the cells. */
function firstStepAt(state: SequenceState, share: number): number {
  const size = windowSize(state);
  let low = 0;
  let high = plainForwardCount(state.grid, size);
  while (low < high) {
    const middle = (low + high) >>> 1;
    if (decodedBefore(state, size, middle) / state.tokens.length >= share) high = middle;
    else low = middle + 1;
  }
  return low;
}
