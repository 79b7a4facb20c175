/** Shares of the decoded cells: guidance is on from the first up to, and without, the second. */
export type GuidanceInterval = readonly [from: number, to: number];

export const ALWAYS_GUIDED: GuidanceInterval = [0, 1];
