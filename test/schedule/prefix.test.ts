import fc from "fast-check";
import { describe, expect, test } from "vitest";
import { commitStep } from "../../src/schedule/commit-step.ts";
import { belowPrefix, cellSlot, plainForwardCount } from "../../src/schedule/grid.ts";
import { isGuided } from "../../src/schedule/guidance.ts";
import type { GuidanceInterval } from "../../src/schedule/guidance-interval.ts";
import { planStep } from "../../src/schedule/plan-step.ts";
import { randomKey } from "../../src/schedule/random.ts";
import { planRebuild } from "../../src/schedule/rebuild.ts";
import { isComplete, startSequence } from "../../src/schedule/sequence-state.ts";
import type { SurrogateRule } from "../../src/schedule/surrogate.ts";
import type { Window } from "../../src/schedule/window.ts";
import { answer, ContextModel } from "../support/context-model.ts";
import { type ContextRun, contextRuns } from "../support/context-runs.ts";
import { naiveGuessed } from "../support/naive-guessed.ts";
import { naivePrefix } from "../support/naive-prefix.ts";
import { runs } from "../support/property-runs.ts";

interface PrefixRun extends ContextRun {
  readonly prefix: readonly number[];
  readonly surrogate: SurrogateRule;
}

/** Runs with any tokens in some of their first rows. */
const prefixRuns = (side: number): fc.Arbitrary<PrefixRun> =>
  contextRuns(side)
    .filter(({ setting }) => setting.grid.rows > 1)
    .chain((run) =>
      fc
        .record({
          row: fc.integer({ min: 1, max: run.setting.grid.rows - 1 }),
          codes: fc.array(fc.nat(run.law.codeCount - 1), { minLength: side * side, maxLength: side * side }),
          surrogate: fc.constantFrom<SurrogateRule>("two-rows-up", "above", "newest"),
        })
        .map(({ row, codes, surrogate }) => ({
          ...run,
          surrogate,
          prefix: codes.slice(0, row * run.setting.grid.columns),
        })),
    );

interface Steering {
  readonly lookaheads?: readonly number[];
  /** The forwards before which all K/V are lost and rebuilt. */
  readonly lose?: readonly number[];
  /** Queries that a forward may hold which rebuilds. */
  readonly size?: number;
  readonly guidanceInterval?: GuidanceInterval;
}

function decode(
  run: ContextRun & { readonly prefix?: readonly number[]; readonly surrogate?: SurrogateRule },
  window: Window,
  { lookaheads = [0], lose = [], size = 50, guidanceInterval = [0, 1] }: Steering = {},
) {
  const { grid, promptLength, refreshRowEnds } = run.setting;
  const state = startSequence({
    grid,
    promptLength,
    codeCount: run.law.codeCount,
    window,
    refreshRowEnds,
    surrogate: run.surrogate ?? "two-rows-up",
    guidanceInterval,
    key: randomKey(run.seed),
    ...(run.prefix === undefined ? {} : { prefix: Int32Array.from(run.prefix) }),
  });
  let model = new ContextModel(run.seed);
  const lockedAt = new Array<number>(state.tokens.length).fill(0);
  /** By cell: whether the forward that decoded it was guided. */
  const guided = new Array<boolean>(state.tokens.length).fill(false);
  let rebuildCount = 0;
  for (let isFirst = true; !isComplete(state); isFirst = false) {
    if (isFirst || lose.includes(state.forwardCount)) {
      model = new ContextModel(run.seed);
      const forwards = planRebuild(state.fed, size);
      for (const forward of forwards) model.feed(forward);
      if (isFirst) rebuildCount = forwards.length;
      for (const { queries } of forwards) expect(queries.length).toBeLessThanOrEqual(size);
    }
    const plan = planStep(state, lookaheads[state.forwardCount % lookaheads.length]);
    const isGuidedNow = isGuided(state);
    const { cells } = commitStep(state, plan, answer(plan, model.feed(plan), run.law, run.isGreedy));
    for (const { row, column } of cells) {
      lockedAt[row * grid.columns + column] = state.forwardCount;
      guided[row * grid.columns + column] = isGuidedNow;
    }
  }
  const prefixRows = (run.prefix ?? []).length / grid.columns;
  return {
    tokens: [...state.tokens],
    forwards: state.forwardCount,
    lockedAt,
    guided,
    rebuildCount,
    prefixRows,
  };
}

const fixed = (size: number): Window => ({ kind: "fixed", size });

describe("a prefix", () => {
  test("is decoded on from as the rule says that is taken word for word, in the forwards of a grid of what is left", () => {
    fc.assert(
      fc.property(prefixRuns(9), (run) => {
        const { grid, window } = run.setting;
        const { tokens, forwards, prefixRows } = decode(run, fixed(window));
        const naive = naivePrefix(run.setting, run.prefix, run.surrogate, {
          ...run,
          key: randomKey(run.seed),
        });
        expect({ tokens, forwards }).toEqual(naive);
        expect(forwards).toBe(plainForwardCount(belowPrefix(grid, prefixRows), window));
      }),
      { numRuns: runs(100), seed: 1 },
    );
  });

  test("gives the same tokens with guesses ahead, and after lost K/V, whenever that happens", () => {
    fc.assert(
      fc.property(
        prefixRuns(9),
        fc.array(fc.constantFrom(0, 1, 2, 5, 12, 40), { minLength: 1, maxLength: 9 }),
        fc.array(fc.nat(60), { minLength: 1, maxLength: 4 }),
        (run, lookaheads, lose) => {
          const window = fixed(run.setting.window);
          const plain = decode(run, window);
          const looking = decode(run, window, { lookaheads });
          expect(looking.tokens).toEqual(plain.tokens);
          expect(looking.forwards).toBeLessThanOrEqual(plain.forwards);
          const { tokens, forwards } = decode(run, window, { lookaheads, lose });
          expect({ tokens, forwards }).toEqual({ tokens: looking.tokens, forwards: looking.forwards });
        },
      ),
      { numRuns: runs(60), seed: 2 },
    );
  });

  test("that is cut from a picture in next-token order is decoded on to the same picture, guided where that was", () => {
    const shares = fc
      .tuple(fc.nat(10), fc.nat(10))
      .map(([a, b]): GuidanceInterval => [Math.min(a, b) / 11, (Math.max(a, b) + 1) / 11]);
    fc.assert(
      fc.property(prefixRuns(9), shares, (run, guidanceInterval) => {
        const { columns } = run.setting.grid;
        const { prefix, ...unforced } = run;
        const whole = decode(unforced, fixed(columns), { guidanceInterval });
        const cut = { ...run, prefix: whole.tokens.slice(0, prefix.length) };
        const rest = decode(cut, fixed(columns), { guidanceInterval });
        expect(rest.tokens).toEqual(whole.tokens);
        expect(rest.guided.slice(prefix.length)).toEqual(whole.guided.slice(prefix.length));
        for (const window of [
          { kind: "guessed", size: columns, unchanged: 0 },
          { kind: "adaptive", min: columns, verification: "overlapped", test: "rejection" },
          { kind: "adaptive", min: columns, verification: "sequential", test: "coupled" },
        ] as const)
          expect(decode(cut, window).tokens, window.kind).toEqual(whole.tokens);
      }),
      { numRuns: runs(50), seed: 3 },
    );
  });

  test("under a guessed window gives what the rule gives that is taken word for word, after lost K/V too", () => {
    fc.assert(
      fc.property(
        prefixRuns(9),
        fc.nat(3),
        fc.array(fc.nat(40), { maxLength: 3 }),
        (run, unchanged, lose) => {
          const { window: size } = run.setting;
          const window = { kind: "guessed", size, unchanged } as const;
          const { tokens, lockedAt } = decode(run, window, { lose });
          const key = randomKey(run.seed);
          expect({ tokens, lockedAt }).toEqual(naiveGuessed(run.setting, window, { ...run, key }));
        },
      ),
      { numRuns: runs(60), seed: 4 },
    );
  });

  test("under an adaptive window begins below the given rows, and goes on after lost K/V", () => {
    fc.assert(
      fc.property(
        prefixRuns(8),
        fc.constantFrom("overlapped" as const, "sequential" as const),
        fc.constantFrom("rejection" as const, "coupled" as const),
        fc.nat(30),
        (run, verification, test, loss) => {
          const window: Window = { kind: "adaptive", min: run.setting.window, verification, test };
          const { tokens, lockedAt, prefixRows } = decode(run, window);
          const { columns } = run.setting.grid;
          expect(tokens.slice(0, run.prefix.length)).toEqual(run.prefix);
          expect(lockedAt[prefixRows * columns]).toBe(1);
          expect(decode(run, window, { lose: [loss] }).tokens).toEqual(tokens);
        },
      ),
      { numRuns: runs(50), seed: 5 },
    );
  });

  test("is written in as few forwards as its positions fill", () => {
    fc.assert(
      fc.property(prefixRuns(12), fc.integer({ min: 1, max: 40 }), (run, size) => {
        const { grid, promptLength, window } = run.setting;
        const { rebuildCount, prefixRows } = decode(run, fixed(window), { size });
        expect(rebuildCount).toBe(Math.ceil((cellSlot(grid, promptLength, prefixRows, 0) - 1) / size));
      }),
      { numRuns: runs(30), seed: 6 },
    );
  });
});
