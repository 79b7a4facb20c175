import { describe, expect, test } from "vitest";
import { plan } from "../../src/api/plan.ts";
import { randomKey } from "../../src/schedule/random.ts";
import { startSequence } from "../../src/schedule/sequence-state.ts";
import type { SurrogateRule } from "../../src/schedule/surrogate.ts";
import { CODE_COUNT, cellToken, record } from "../support/run-schedule.ts";

const grid = { rows: 5, columns: 9, rowEnd: "none" } as const;
const window = 3;
const promptLength = 2;

/** The surrogates of a run by the row that they open, its tokens naming their cells. */
function surrogatesOf(surrogate: SurrogateRule | undefined): ReadonlyMap<number, number> {
  const state = startSequence({
    grid,
    promptLength,
    codeCount: CODE_COUNT,
    window: { kind: "fixed", size: window },
    key: randomKey(1),
    ...(surrogate === undefined ? {} : { surrogate }),
  });
  const trace = record(state, ({ queries }) =>
    queries.map(({ want }) =>
      want.type === "none" ? undefined : { token: cellToken(want.row, want.column), probability: 1 },
    ),
  );
  const surrogates = new Map<number, number>();
  for (const { queries } of trace) {
    for (const { kind, token, want } of queries) {
      if (kind === "surrogate" && want.type === "draw") surrogates.set(want.row, token);
    }
  }
  expect(trace.length).toBe(plan({ ...grid, window }).forwards);
  return surrogates;
}

describe("the token that opens row i while the last one of row i - 1 is not decoded", () => {
  test("is the newest of row i - 2, or of row 0 for row 1, unless another rule is chosen", () => {
    const expected = [
      [1, cellToken(0, window - 1)],
      [2, cellToken(0, 2 * window - 1)],
      [3, cellToken(1, 2 * window - 1)],
      [4, cellToken(2, 2 * window - 1)],
    ];
    expect([...surrogatesOf("two-rows-up")]).toEqual(expected);
    expect([...surrogatesOf(undefined)]).toEqual(expected);
  });

  test("is the newest of row i - 1 under `newest`", () => {
    expect([...surrogatesOf("newest")]).toEqual(
      [1, 2, 3, 4].map((row) => [row, cellToken(row - 1, window - 1)]),
    );
  });

  test("is the one at column 0 of row i - 1 under `above`", () => {
    expect([...surrogatesOf("above")]).toEqual([1, 2, 3, 4].map((row) => [row, cellToken(row - 1, 0)]));
  });
});
