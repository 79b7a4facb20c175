/**
 * What a sequence has fed so far, forward by forward: enough to write its K/V again in another worker. Compact, since a
 * 90 x 90 image feeds some ten thousand queries.
 *
 * A rejected draft is not part of it: no query but itself ever saw its K/V.
 */
export interface FedQueries {
  readonly slots: number[];
  readonly tokens: number[];
  /** Per forward: how many queries it and those before it fed. */
  readonly ends: number[];
}

export function nothingFed(): FedQueries {
  return { slots: [], tokens: [], ends: [] };
}

/** Appends one forward. */
export function recordFed(
  fed: FedQueries,
  queries: readonly { readonly slot: number; readonly token: number }[],
): void {
  for (const { slot, token } of queries) {
    fed.slots.push(slot);
    fed.tokens.push(token);
  }
  fed.ends.push(fed.slots.length);
}

/** The queries of forward `step`, as [first, end) into `slots` and `tokens`. */
export function fedIn(fed: FedQueries, step: number): { readonly first: number; readonly end: number } {
  return { first: step === 0 ? 0 : (fed.ends[step - 1] as number), end: fed.ends[step] as number };
}
