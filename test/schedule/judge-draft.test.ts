import { describe, expect, test } from "vitest";
import { type Distribution, drawToken } from "../../src/schedule/distribution.ts";
import { judgeDraft } from "../../src/schedule/judge-draft.ts";
import { PURPOSE, type RandomKey, randomKey, uniform } from "../../src/schedule/random.ts";
import type { Draft } from "../../src/schedule/sequence-state.ts";
import type { AdaptiveWindow } from "../../src/schedule/window.ts";
import { chiSquare, chiSquareLimit, count, law } from "../support/chi-square.ts";

const TRIALS = 20_000;
const ROW = 2;

/** The laws of a row's first token as the row above grows. */
const ROUNDS = [
  law([0.5, 0.3, 0.1, 0.05, 0.05]),
  law([0.2, 0.2, 0.2, 0.2, 0.2]),
  law([0.05, 0.6, 0.05, 0.25, 0.05]),
  law([0.3, 0.1, 0.4, 0.1, 0.1]),
];

type Judge = (key: RandomKey, draft: Draft | undefined, p: Distribution, isFullContext: boolean) => number;

function judging(test: AdaptiveWindow["test"]): Judge {
  const window: AdaptiveWindow = { kind: "adaptive", min: 1, verification: "overlapped", test };
  return (key, draft, p, isFullContext) => judgeDraft(window, key, ROW, draft, p, isFullContext).token;
}

/** Drafts after all rounds, in chains that go on whatever the verdicts are. */
function chains(judge: Judge, rounds: readonly Distribution[], isLastFull = false): number[] {
  return Array.from({ length: TRIALS }, (_, seed) => {
    const key = randomKey(seed);
    let draft: Draft | undefined;
    for (const [k, p] of rounds.entries()) {
      const token = judge(key, draft, p, isLastFull && k === rounds.length - 1);
      draft = { token, distribution: p, window: k + 1, attempt: k };
    }
    return (draft as Draft).token;
  });
}

function statisticAfter(judge: Judge, rounds: readonly Distribution[], isLastFull = false): number {
  return chiSquare(count(chains(judge, rounds, isLastFull)), rounds.at(-1) as Distribution);
}

const LIMIT = chiSquareLimit(4);

describe.each(["rejection", "coupled"] as const)("the %s test", (name) => {
  test.each([1, 2, 3, 4])("gives a draft that follows the newest law after %i rounds", (rounds) => {
    expect(statisticAfter(judging(name), ROUNDS.slice(0, rounds))).toBeLessThan(LIMIT);
  });

  test("gives a settled token that follows the law of the full context", () => {
    expect(statisticAfter(judging(name), ROUNDS, true)).toBeLessThan(LIMIT);
  });

  test("follows the law where tokens appear and vanish from round to round", () => {
    const rounds = [law([0.5, 0.5], [1, 2]), law([0.7, 0.3], [2, 7]), law([0.3, 0.3, 0.4], [0, 1, 2])];
    expect(statisticAfter(judging(name), rounds)).toBeLessThan(chiSquareLimit(2));
  });

  test("accepts, with one-hot laws, exactly when the arg-max is unchanged", () => {
    const window: AdaptiveWindow = { kind: "adaptive", min: 1, verification: "overlapped", test: name };
    const draft = { token: 3, distribution: law([1], [3]), window: 1, attempt: 0 };
    for (let seed = 0; seed < 200; seed++) {
      for (const isFullContext of [false, true]) {
        const judge = (p: Distribution) => judgeDraft(window, randomKey(seed), ROW, draft, p, isFullContext);
        expect(judge(law([1], [3]))).toEqual({ type: "accepted", token: 3 });
        expect(judge(law([1], [5]))).toEqual({ type: isFullContext ? "settled" : "drafted", token: 5 });
      }
    }
  });

  test("settles at once where the first law has the full context already", () => {
    const window: AdaptiveWindow = { kind: "adaptive", min: 4, verification: "overlapped", test: name };
    const key = randomKey(3);
    const verdict = judgeDraft(window, key, ROW, undefined, ROUNDS[0] as Distribution, true);
    const token = drawToken(ROUNDS[0] as Distribution, uniform(key, ROW, 0, PURPOSE.token));
    expect(verdict).toEqual({ type: "settled", token });
  });
});

test("the coupled draft of a round is the draw at the cell's own number under that round's own law", () => {
  const judge = judging("coupled");
  for (let seed = 0; seed < 100; seed++) {
    const key = randomKey(seed);
    const draft = { token: 0, distribution: ROUNDS[0] as Distribution, window: 1, attempt: 0 };
    const expected = drawToken(ROUNDS[1] as Distribution, uniform(key, ROW, 0, PURPOSE.token));
    expect(judge(key, draft, ROUNDS[1] as Distribution, false)).toBe(expected);
  }
});

test("the rejection test accepts with probability min(1, p/q)", () => {
  const window: AdaptiveWindow = { kind: "adaptive", min: 1, verification: "overlapped", test: "rejection" };
  const [q, p] = ROUNDS as [Distribution, Distribution];
  for (const token of q.tokens) {
    let accepted = 0;
    for (let seed = 0; seed < TRIALS; seed++) {
      const draft = { token, distribution: q, window: 1, attempt: 0 };
      if (judgeDraft(window, randomKey(seed), ROW, draft, p, false).type === "accepted") accepted++;
    }
    const expected = Math.min(1, (p.probabilities[token] as number) / (q.probabilities[token] as number));
    expect(Math.abs(accepted / TRIALS - expected)).toBeLessThan(4 * Math.sqrt(0.25 / TRIALS));
  }
});

describe("the statistic has the power to see", () => {
  /** The rejection test with something else in the place of the residual. */
  function broken(replace: (key: RandomKey, draft: Draft, p: Distribution) => number): Judge {
    const window: AdaptiveWindow = {
      kind: "adaptive",
      min: 1,
      verification: "overlapped",
      test: "rejection",
    };
    return (key, draft, p, isFullContext) => {
      const verdict = judgeDraft(window, key, ROW, draft, p, isFullContext);
      return draft === undefined || verdict.type === "accepted" ? verdict.token : replace(key, draft, p);
    };
  }

  test("a plain redraw from p in place of the residual", () => {
    const redraw = broken((key, draft, p) =>
      drawToken(p, uniform(key, ROW, 0, PURPOSE.residual, draft.attempt)),
    );
    for (const rounds of [2, 3, 4])
      expect(statisticAfter(redraw, ROUNDS.slice(0, rounds))).toBeGreaterThan(4 * LIMIT);
  });

  test("a draft that is kept whatever the verdict", () => {
    const keep = broken((_, draft) => draft.token);
    for (const rounds of [2, 3, 4])
      expect(statisticAfter(keep, ROUNDS.slice(0, rounds))).toBeGreaterThan(4 * LIMIT);
  });

  test("an acceptance that uses the same random number in every round", () => {
    const window: AdaptiveWindow = {
      kind: "adaptive",
      min: 1,
      verification: "overlapped",
      test: "rejection",
    };
    const stuck: Judge = (key, draft, p, isFullContext) =>
      judgeDraft(window, key, ROW, draft && { ...draft, attempt: 0 }, p, isFullContext).token;
    expect(statisticAfter(stuck, ROUNDS)).toBeGreaterThan(4 * LIMIT);
  });
});
