import type { SequenceState } from "./sequence-state.ts";

/** Shares of the decoded cells: guidance is on from the first up to, and without, the second. */
export type GuidanceInterval = readonly [from: number, to: number];

export const ALWAYS_GUIDED: GuidanceInterval = [0, 1];

/** Whether the next forward of a sequence is guided: decided by what is decoded before it, so the same in every batch. */
export function isGuided(
  { decodedCount, tokens }: Pick<SequenceState, "decodedCount" | "tokens">,
  [from, to]: GuidanceInterval,
): boolean {
  const share = decodedCount / tokens.length;
  return from <= share && share < to;
}
