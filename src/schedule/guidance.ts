import { isWithin } from "./guidance-interval.ts";
import { plainStep } from "./plain-order.ts";
import type { SequenceState } from "./sequence-state.ts";

/**
 * Whether the next forward of a sequence is guided: by the share of cells that plain decoding has decoded before it, so
 * the same in every batch and at every lookahead.
 */
export function isGuided(state: SequenceState): boolean {
  const { guidedSteps, guidanceInterval, decodedCount, tokens } = state;
  return guidedSteps === undefined
    ? isWithin(guidanceInterval, decodedCount / tokens.length)
    : isWithin(guidedSteps, plainStep(state));
}

/** Under a fixed window: the first step after the plain one at which guidance may be switched. */
export function nextSwitch(state: SequenceState): number {
  const now = plainStep(state);
  return state.guidedSteps?.find((step) => step > now) ?? Number.POSITIVE_INFINITY;
}
