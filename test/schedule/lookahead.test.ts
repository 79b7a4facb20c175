import fc from "fast-check";
import { describe, expect, test } from "vitest";
import { commitStep } from "../../src/schedule/commit-step.ts";
import { plainForwardCount } from "../../src/schedule/grid.ts";
import type { GuidanceInterval } from "../../src/schedule/guidance-interval.ts";
import { planStep } from "../../src/schedule/plan-step.ts";
import { randomKey } from "../../src/schedule/random.ts";
import { planRebuild } from "../../src/schedule/rebuild.ts";
import { isComplete, startSequence } from "../../src/schedule/sequence-state.ts";
import type { SurrogateRule } from "../../src/schedule/surrogate.ts";
import { answer, ContextModel } from "../support/context-model.ts";
import { type ContextRun, contextRuns } from "../support/context-runs.ts";
import { runs, triesAllCases } from "../support/property-runs.ts";

interface Run extends ContextRun {
  readonly surrogate: SurrogateRule;
  readonly guidanceInterval: GuidanceInterval;
}

interface Decoded {
  readonly tokens: readonly number[];
  readonly forwards: number;
  /** What each query saw, by its slot and step. */
  readonly seen: ReadonlyMap<string, string>;
  readonly heldCount: number;
  readonly guessCount: number;
}

const others = fc.record({
  surrogate: fc.constantFrom<SurrogateRule>("two-rows-up", "above", "newest"),
  guidanceInterval: fc
    .tuple(fc.nat(10), fc.nat(10))
    .map(([a, b]): GuidanceInterval => [Math.min(a, b) / 11, (Math.max(a, b) + 1) / 11]),
});

const runsOn = (side: number): fc.Arbitrary<Run> =>
  fc.tuple(contextRuns(side), others).map(([run, rest]) => ({ ...run, ...rest }));

/** Lookaheads of a run's forwards, over and over. */
const lookaheads = fc.oneof(
  fc.integer({ min: 1, max: 200 }).map((lookahead) => [lookahead]),
  fc.array(fc.constantFrom(0, 1, 2, 5, 12, 40), { minLength: 1, maxLength: 9 }),
);

/** `lose`: the forwards before which all K/V are lost and rebuilt. */
function decode(run: Run, lookaheads: readonly number[], lose: readonly number[] = []): Decoded {
  const { grid, window, promptLength, refreshRowEnds } = run.setting;
  const state = startSequence({
    grid,
    promptLength,
    codeCount: run.law.codeCount,
    window: { kind: "fixed", size: window },
    refreshRowEnds,
    surrogate: run.surrogate,
    guidanceInterval: run.guidanceInterval,
    key: randomKey(run.seed),
  });
  const seen = new Map<string, string>();
  const open = () => {
    const model = new ContextModel(run.seed);
    model.onQuery = (query, slots) => {
      const before = seen.get(query);
      if (before !== undefined && before !== slots)
        throw new Error(`${query} sees ${slots} after it saw ${before}`);
      seen.set(query, slots);
    };
    return model;
  };
  let model = open();
  while (!isComplete(state)) {
    if (lose.includes(state.forwardCount)) {
      model = open();
      for (const forward of planRebuild(state.fed, 50)) model.feed(forward);
    }
    const plan = planStep(state, lookaheads[state.forwardCount % lookaheads.length]);
    const { cells } = commitStep(state, plan, answer(plan, model.feed(plan), run.law, run.isGreedy));
    if (cells.length === 0) throw new Error(`forward ${state.forwardCount} decoded nothing`);
  }
  const { forwardCount: forwards, heldCount, guessCount } = state;
  return { tokens: [...state.tokens], forwards, seen, heldCount, guessCount };
}

describe("lookahead", () => {
  test("gives plain decoding's tokens in no more forwards, and shows each query exactly what plain decoding shows it", () => {
    let forwards = { plain: 0, lookahead: 0 };
    fc.assert(
      fc.property(runsOn(12), lookaheads, (run, lookaheads) => {
        const plain = decode(run, [0]);
        const looking = decode(run, lookaheads);
        expect(looking.tokens).toEqual(plain.tokens);
        expect(looking.forwards).toBeLessThanOrEqual(plain.forwards);
        expect(plain.forwards).toBe(plainForwardCount(run.setting.grid, run.setting.window));
        for (const [query, slots] of looking.seen) expect(slots, query).toBe(plain.seen.get(query));
        forwards = {
          plain: forwards.plain + plain.forwards,
          lookahead: forwards.lookahead + looking.forwards,
        };
      }),
      { numRuns: runs(400), seed: 1 },
    );
    if (triesAllCases) expect(forwards.lookahead).toBeLessThan(forwards.plain / 1.5);
  });

  test("the same on grids up to 40 x 40", () => {
    fc.assert(
      fc.property(runsOn(40), lookaheads, (run, lookaheads) => {
        const plain = decode(run, [0]);
        const looking = decode(run, lookaheads);
        expect(looking.tokens).toEqual(plain.tokens);
        expect(looking.forwards).toBeLessThanOrEqual(plain.forwards);
        for (const [query, slots] of looking.seen) expect(slots, query).toBe(plain.seen.get(query));
      }),
      { numRuns: runs(20), seed: 2 },
    );
  });

  test("goes on after lost K/V, whenever that happens, as if nothing had been lost", () => {
    fc.assert(
      fc.property(
        runsOn(9),
        lookaheads,
        fc.array(fc.integer({ min: 1, max: 60 }), { minLength: 1, maxLength: 4 }),
        (run, lookaheads, lose) => {
          const calm = decode(run, lookaheads);
          const { tokens, forwards } = decode(run, lookaheads, lose);
          expect({ tokens, forwards }).toEqual({ tokens: calm.tokens, forwards: calm.forwards });
        },
      ),
      { numRuns: runs(400), seed: 3 },
    );
  });
});
