/**
 * What a sequence has fed for good so far: enough to write its K/V again in another worker. Compact, since a 90 x 90
 * image feeds some ten thousand queries.
 *
 * A rejected draft or a guess that fell is not part of it: nothing that lasts ever saw its K/V.
 */
export interface FedQueries {
  readonly slots: number[];
  readonly tokens: number[];
  /** Per query: its step (`Query.step`). */
  readonly steps: number[];
}

export function nothingFed(): FedQueries {
  return { slots: [], tokens: [], steps: [] };
}

/** Appends the queries of one forward that are fed for good. */
export function recordFed(
  fed: FedQueries,
  queries: readonly { readonly slot: number; readonly token: number; readonly step: number }[],
): void {
  for (const { slot, token, step } of queries) {
    fed.slots.push(slot);
    fed.tokens.push(token);
    fed.steps.push(step);
  }
}

/** Per step: its queries, as indices into `slots` and `tokens`, in the order in which they were fed. */
export function fedBySteps(fed: FedQueries): readonly (readonly number[])[] {
  const bySteps: number[][] = [];
  for (const [index, step] of fed.steps.entries()) {
    while (bySteps.length <= step) bySteps.push([]);
    bySteps[step]?.push(index);
  }
  return bySteps;
}
