import { describe, expect, test } from "vitest";
import { RowCosts } from "../../src/decode/row-costs.ts";
import { chooseLookahead, finalShares, type Participant } from "../../src/schedule/choose-lookahead.ts";
import { commitStep } from "../../src/schedule/commit-step.ts";
import { noGuesses, recordGuess } from "../../src/schedule/guess-record.ts";
import { planStep } from "../../src/schedule/plan-step.ts";
import { randomKey } from "../../src/schedule/random.ts";
import { startSequence } from "../../src/schedule/sequence-state.ts";

/** An image in next-token order, one forward old, with the share of guesses that held where those before them did. */
function participant(share: number, lookahead: number | "auto" = "auto"): Participant {
  const state = startSequence({
    grid: { rows: 32, columns: 32, rowEnd: "none" },
    promptLength: 1,
    codeCount: 9,
    window: { kind: "fixed", size: 32 },
    key: randomKey(1),
  });
  commitStep(state, planStep(state), [{ token: 1, probability: 1 }]);
  for (let distance = 1; distance < 130; distance++)
    for (let guess = 0; guess < 100; guess++)
      recordGuess(state.guessRecord, distance, ((guess * 13) % 32) / 32 < share);
  return { state, branchCount: 2, lookahead };
}

const measured = (msOf: (rows: number) => number) => (rows: number) => ({ ms: msOf(rows), isMeasured: true });
const free = measured(() => 10);
const proportional = measured((rows) => rows);
/** Free up to 32 rows, as on a small CPU. */
const knee = measured((rows) => 10 + Math.max(0, rows - 32));

describe("the lookahead that is chosen", () => {
  test("is 0 where every row costs as much as the first, and the largest where rows are free", () => {
    expect(chooseLookahead([participant(0.8)], proportional)).toBe(0);
    expect(chooseLookahead([participant(0.95)], free)).toBe(127);
  });

  test("fills the rows that are free, and shares them among the images of a batch", () => {
    expect(chooseLookahead([participant(0.8)], knee)).toBe(15); // 2 branches x 16 queries
    expect(chooseLookahead([participant(0.8), participant(0.8)], knee)).toBe(7);
    expect(chooseLookahead(new Array(8).fill(participant(0.8)), knee)).toBe(1);
  });

  test("is smaller where guesses fall", () => {
    const slope = measured((rows) => 4 + rows);
    const chosen = [0.02, 0.4, 0.9].map((share) => chooseLookahead([participant(share)], slope));
    expect(chosen).toEqual([...chosen].sort((a, b) => a - b));
    expect(chosen[0]).toBe(0);
    expect(chosen[2]).toBeGreaterThan(chosen[1] as number);
  });

  test("makes room for images whose lookahead is given", () => {
    expect(chooseLookahead([participant(0.8), participant(0.8, 15)], free)).toBeGreaterThanOrEqual(15);
    expect(chooseLookahead([participant(0.8), participant(0.8, 0)], proportional)).toBe(0);
  });

  test("tries costs that nobody has measured one after the other, and stops where a larger one does not pay", () => {
    const costs = new RowCosts();
    const tried: number[] = [];
    const trueCost = (rows: number) => 10 + Math.max(0, rows - 8) ** 2;
    for (let forward = 0; forward < 20; forward++) {
      const lookahead = chooseLookahead([participant(0.7)], (rows) => costs.of(rows));
      const rows = 2 * (lookahead + 1);
      costs.record(rows, trueCost(rows));
      tried.push(lookahead);
    }
    expect(tried.slice(0, 5)).toEqual([0, 1, 3, 7, 3]);
    expect(new Set(tried.slice(4))).toEqual(new Set([3]));
  });
});

test("the share of final draws is the expected one at first, and what was seen with time", () => {
  const guessRecord = noGuesses();
  const [now = 0, one = 0, two = 0] = finalShares({ guessRecord }, 2);
  expect([now, one]).toEqual([1, 0.85]);
  expect(two).toBeCloseTo(0.85 ** 2);
  for (let draw = 0; draw < 400; draw++) recordGuess(guessRecord, 1, draw % 4 === 0);
  expect(finalShares({ guessRecord }, 1)[1]).toBeCloseTo(0.25, 1);
  for (let draw = 0; draw < 100; draw++) recordGuess(guessRecord, 1, true);
  expect(finalShares({ guessRecord }, 1)[1], "what is long past counts little").toBeGreaterThan(0.9);
});
