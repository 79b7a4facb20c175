import fc from "fast-check";
import { describe, expect, test } from "vitest";
import { commitStep } from "../../src/schedule/commit-step.ts";
import { cellSlot, plainForwardCount, slotCount } from "../../src/schedule/grid.ts";
import { planStep } from "../../src/schedule/plan-step.ts";
import { randomKey } from "../../src/schedule/random.ts";
import { planRebuild } from "../../src/schedule/rebuild.ts";
import { isComplete, startSequence } from "../../src/schedule/sequence-state.ts";
import type { StepPlan } from "../../src/schedule/step-plan.ts";
import type { Window } from "../../src/schedule/window.ts";
import { answer, ContextModel } from "../support/context-model.ts";
import { type ContextRun, contextRuns } from "../support/context-runs.ts";
import { naiveGuessed } from "../support/naive-guessed.ts";
import { runs, triesAllCases } from "../support/property-runs.ts";

const guessed = (size: number, unchanged = 0): Window => ({ kind: "guessed", size, unchanged });

/** Decodes in a model in which everything matters. `lose`: the forwards before which all K/V are lost and rebuilt. */
function decode(run: ContextRun, window: Window, lose: readonly number[] = []) {
  const { grid, promptLength } = run.setting;
  const { codeCount } = run.law;
  const key = randomKey(run.seed);
  const state = startSequence({ grid, promptLength, codeCount, window, key });
  const lockedAt = new Array<number>(state.tokens.length).fill(0);
  const plans: { plan: StepPlan; seen: Int32Array }[] = [];
  let model = new ContextModel(run.seed);
  while (!isComplete(state)) {
    if (lose.includes(state.forwardCount)) {
      model = new ContextModel(run.seed);
      for (const forward of planRebuild(state.fed, 50)) model.feed(forward);
    }
    const plan = planStep(state);
    plans.push({ plan, seen: state.decodedCounts.slice() });
    const { cells } = commitStep(state, plan, answer(plan, model.feed(plan), run.law, run.isGreedy));
    for (const { row, column } of cells) lockedAt[row * grid.columns + column] = state.forwardCount;
  }
  return { tokens: [...state.tokens], forwards: state.forwardCount, lockedAt, plans, state };
}

describe("a guessed window", () => {
  test("decodes what the rule gives that is taken word for word, forward by forward", () => {
    fc.assert(
      fc.property(contextRuns(9), fc.nat(3), (run, unchanged) => {
        const { window: size } = run.setting;
        const { tokens, lockedAt } = decode(run, guessed(size, unchanged));
        const key = randomKey(run.seed);
        expect({ tokens, lockedAt }).toEqual(
          naiveGuessed(run.setting, { kind: "guessed", size, unchanged }, { ...run, key }),
        );
      }),
      { numRuns: runs(250), seed: 1 },
    );
  });

  test("as wide as the grid is next-token order, token for token", () => {
    const forwards = { guessed: 0, plain: 0 };
    fc.assert(
      fc.property(contextRuns(10), fc.nat(2), (run, unchanged) => {
        const { columns } = run.setting.grid;
        const wide = decode(run, guessed(columns, unchanged));
        const plain = decode(run, { kind: "fixed", size: columns });
        expect(wide.tokens).toEqual(plain.tokens);
        forwards.guessed += wide.forwards;
        forwards.plain += plain.forwards;
      }),
      { numRuns: runs(200), seed: 2 },
    );
    if (triesAllCases) expect(forwards.guessed).toBeLessThan(forwards.plain / 1.5);
  });

  test("locks a cell only where the row above was locked far enough, and takes no more forwards than a plain one", () => {
    fc.assert(
      fc.property(contextRuns(14), (run) => {
        const { grid, window } = run.setting;
        const { forwards, lockedAt } = decode(run, guessed(window));
        expect(forwards).toBeLessThanOrEqual(plainForwardCount(grid, window));
        for (let row = 1; row < grid.rows; row++)
          for (let column = 0; column < grid.columns; column++) {
            const needed = (row - 1) * grid.columns + Math.min(column + window, grid.columns) - 1;
            expect(lockedAt[needed]).toBeLessThan(lockedAt[row * grid.columns + column] as number);
          }
      }),
      { numRuns: runs(60), seed: 3 },
    );
  });

  test("feeds all guesses of the rows in flight in every forward, each cell with its locked token too, and shows all that is written", () => {
    fc.assert(
      fc.property(contextRuns(10), (run) => {
        const { grid, window, promptLength } = run.setting;
        const { plans, state } = decode(run, guessed(window));
        const lastFed = new Map<number, number>();
        for (const [forward, { plan, seen }] of plans.entries()) {
          const slots = plan.queries.map(({ slot }) => slot);
          expect(slots).toEqual([...slots].sort((a, b) => a - b));
          expect(plan.queries.every(({ step }) => step === forward)).toBe(true);
          for (const { slot, token } of plan.queries) lastFed.set(slot, token);
          const end = plan.runs[1] as number; // nothing that is written is hidden, and nothing is left out between
          expect([...plan.runs]).toEqual([0, end]);
          expect(end).toBe(Math.max(...lastFed.keys()) + 1);
          if (forward === 0) continue;
          for (let row = 0; row < grid.rows && (row === 0 || (seen[row - 1] as number) > 0); row++)
            for (let column = seen[row] as number; column < grid.columns; column++)
              if (row + 1 < grid.rows || column + 1 < grid.columns)
                expect(slots).toContain(cellSlot(grid, promptLength, row, column));
        }
        const lastCell = slotCount(grid, promptLength) - (grid.rowEnd === "token" ? 2 : 1);
        for (const [cell, token] of state.tokens.entries()) {
          const slot = cellSlot(grid, promptLength, Math.floor(cell / grid.columns), cell % grid.columns);
          const isLastRow = cell >= (grid.rows - 1) * grid.columns;
          if (slot !== lastCell && !isLastRow) expect(lastFed.get(slot), `cell ${cell}`).toBe(token);
        }
      }),
      { numRuns: runs(100), seed: 4 },
    );
  });

  test("goes on after lost K/V, whenever that happens, as if nothing had been lost", () => {
    const lost = fc.array(fc.integer({ min: 1, max: 40 }), { minLength: 1, maxLength: 3 });
    fc.assert(
      fc.property(contextRuns(8), lost, (run, lose) => {
        const window = guessed(run.setting.window);
        const calm = decode(run, window);
        const { tokens, forwards } = decode(run, window, lose);
        expect({ tokens, forwards }).toEqual({ tokens: calm.tokens, forwards: calm.forwards });
      }),
      { numRuns: runs(200), seed: 5 },
    );
  });
});
