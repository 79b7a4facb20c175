import fc from "fast-check";
import { describe, expect, test } from "vitest";
import { commitStep } from "../../src/schedule/commit-step.ts";
import { planStep } from "../../src/schedule/plan-step.ts";
import { randomKey } from "../../src/schedule/random.ts";
import { type SequenceState, startSequence } from "../../src/schedule/sequence-state.ts";
import type { AdaptiveWindow, Window } from "../../src/schedule/window.ts";
import type { ResolvedStubOptions } from "../../src/stub/options.ts";
import { auditTrace } from "../support/audit-trace.ts";
import { runs } from "../support/property-runs.ts";
import { recordStub } from "../support/record-stub.ts";

interface AdaptiveSetting {
  readonly stub: ResolvedStubOptions;
  readonly window: AdaptiveWindow;
  readonly seed: number;
  readonly temperature: number;
}

const settings: fc.Arbitrary<AdaptiveSetting> = fc
  .record({ rows: fc.integer({ min: 1, max: 12 }), columns: fc.integer({ min: 1, max: 12 }) })
  .chain(({ rows, columns }) =>
    fc.record({
      stub: fc.record({
        rows: fc.constant(rows),
        columns: fc.constant(columns),
        rowEnd: fc.constantFrom("none" as const, "token" as const),
        reach: fc.integer({ min: 0, max: columns + 1 }),
        seed: fc.nat(1000),
        codeCount: fc.integer({ min: 2, max: 30 }),
        promptLength: fc.integer({ min: 1, max: 4 }),
      }),
      window: fc.record({
        kind: fc.constant("adaptive" as const),
        min: fc.integer({ min: 1, max: columns }),
        verification: fc.constantFrom("overlapped" as const, "sequential" as const),
        test: fc.constantFrom("rejection" as const, "coupled" as const),
      }),
      seed: fc.nat(1000),
      temperature: fc.constantFrom(0, 0.7, 1),
    }),
  );

const run = ({ stub, window, seed, temperature }: AdaptiveSetting, other?: Window) =>
  recordStub(stub, other ?? window, { seed, temperature });

function forwardFloor({ stub: { rows, columns }, window: { min, verification } }: AdaptiveSetting): number {
  const perRow = verification === "sequential" && min < columns ? min + 1 : min;
  return columns + (rows - 1) * perRow;
}

test("the rules hold for every adaptive setting: order, visibility, drafts that leave no trace, each cell exactly once", async () => {
  await fc.assert(
    fc.asyncProperty(settings, async (setting) => {
      const { trace, state } = await run(setting);
      const { grid, promptLength, codeCount } = state;
      auditTrace(trace, { grid, promptLength, codeCount, windowOf: (row) => state.openedAt[row] as number });
    }),
    { numRuns: runs(150), seed: 1 },
  );
});

test("forwards lie between the floor of the verification order and next-token order's count", async () => {
  await fc.assert(
    fc.asyncProperty(settings, async (setting) => {
      const { state } = await run(setting);
      const { rows, columns } = setting.stub;
      expect(state.forwardCount).toBeGreaterThanOrEqual(forwardFloor(setting));
      expect(state.forwardCount).toBeLessThanOrEqual(rows * columns);
    }),
    { numRuns: runs(200), seed: 2 },
  );
});

test("the floor is reached where the row above does not matter", async () => {
  for (const verification of ["overlapped", "sequential"] as const) {
    for (const test of ["rejection", "coupled"] as const) {
      for (const min of [1, 2, 5]) {
        const setting: AdaptiveSetting = {
          stub: { rows: 6, columns: 9, rowEnd: "none", reach: 0, seed: 5, codeCount: 40, promptLength: 1 },
          window: { kind: "adaptive", min, verification, test },
          seed: 3,
          temperature: 1,
        };
        const { state } = await run(setting);
        // under overlapped verification an accepted draft brings its successor, so a row is never fewer than 2 ahead
        const lag = verification === "overlapped" ? Math.max(min, 2) : min + 1;
        expect(state.forwardCount, JSON.stringify(setting.window)).toBeGreaterThanOrEqual(
          forwardFloor(setting),
        );
        expect(state.forwardCount, JSON.stringify(setting.window)).toBeLessThanOrEqual(9 + 5 * lag);
        expect(state.rejectedCount).toBe(0);
      }
    }
  }
});

test("min = W is the fixed window W, token for token, in the same forwards and with the same slots", async () => {
  await fc.assert(
    fc.asyncProperty(settings, async (setting) => {
      const { columns } = setting.stub;
      const widest = await run(setting, { ...setting.window, min: columns });
      const fixed = await run(setting, { kind: "fixed", size: columns });
      expect([...widest.state.tokens]).toEqual([...fixed.state.tokens]);
      expect(shape(widest.trace)).toEqual(shape(fixed.trace));
      expect(widest.state.draftCount).toBe(0);
    }),
    { numRuns: runs(80), seed: 3 },
  );
});

function shape(trace: Awaited<ReturnType<typeof recordStub>>["trace"]) {
  return trace.map(({ queries, runs, cells }) => ({
    fed: queries.map(({ slot, token, kind }) => [slot, token, kind]),
    runs: [...runs],
    cells,
  }));
}

describe("on a stub whose tokens depend on r tokens of the row above, greedy", () => {
  const reaches = [1, 2, 3, 5, 8];
  const grid = { rows: 16, columns: 16, codeCount: 4096 } as const;

  for (const rowEnd of ["none", "token"] as const) {
    test.each(reaches)(
      `rows open at r = %i and tokens are next-token order's (row end ${rowEnd})`,
      async (reach) => {
        for (const verification of ["overlapped", "sequential"] as const) {
          for (const test of ["rejection", "coupled"] as const) {
            const stub = { ...grid, rowEnd, reach, seed: reach };
            const greedy = { temperature: 0 };
            const raster = await recordStub(stub, { kind: "fixed", size: grid.columns }, greedy);
            const adaptive = await recordStub(stub, { kind: "adaptive", min: 1, verification, test }, greedy);
            // with 4096 codes a draft that has not seen its whole reach changes almost surely, so every row opens at r, or
            // where the row above had more than r tokens before the draft could be drawn
            const earliest = Math.max(reach, 1);
            for (const openedAt of adaptive.state.openedAt.subarray(1)) {
              expect(openedAt).toBeGreaterThanOrEqual(earliest);
              expect(openedAt).toBeLessThanOrEqual(Math.max(earliest, 2));
            }
            expect([...adaptive.state.tokens]).toEqual([...raster.state.tokens]);
          }
        }
      },
    );
  }

  test("a minimum above r opens every row at the minimum", async () => {
    const stub = { ...grid, rowEnd: "none", reach: 2 } as const;
    const window = { kind: "adaptive", min: 6, verification: "overlapped", test: "rejection" } as const;
    const { state } = await recordStub(stub, window, { temperature: 0 });
    expect([...state.openedAt.subarray(1)]).toEqual(new Array(15).fill(6));
    expect(state.rejectedCount).toBe(0);
  });
});

test("the books of a run add up: drafts, rejections, and the windows of the verdicts", async () => {
  await fc.assert(
    fc.asyncProperty(settings, async (setting) => {
      const { trace, state } = await run(setting);
      const verdicts = trace.flatMap(({ drafts }) => drafts);
      expect(verdicts.filter(({ type }) => type === "draft-rejected").length).toBe(state.rejectedCount);
      expect(verdicts.length).toBe(state.draftCount);
      for (let row = 1; row < setting.stub.rows; row++)
        checkRow(
          state,
          setting,
          row,
          verdicts.filter((v) => v.row === row),
        );
    }),
    { numRuns: runs(100), seed: 4 },
  );
});

function checkRow(
  state: SequenceState,
  { stub: { columns }, window: { min } }: AdaptiveSetting,
  row: number,
  verdicts: readonly { type: string; window: number; token: number }[],
): void {
  const last = verdicts.at(-1);
  const openedAt = state.openedAt[row] as number;
  expect(openedAt).toBeGreaterThanOrEqual(min);
  for (const [k, { window }] of verdicts.entries()) {
    if (k > 0) expect(window).toBe((verdicts[k - 1]?.window as number) + 1);
  }
  if (last?.type === "draft-accepted") {
    expect(openedAt).toBe(last.window);
    expect(state.tokens[row * columns]).toBe(last.token);
  } else expect(openedAt).toBe(columns);
}

test("drafts of a row are counted, so that every round has random numbers of its own", () => {
  for (const verification of ["overlapped", "sequential"] as const) {
    const state = startSequence({
      grid: { rows: 2, columns: 8, rowEnd: "none" },
      promptLength: 1,
      codeCount: 100,
      window: { kind: "adaptive", min: 2, verification, test: "rejection" },
      key: randomKey(0),
    });
    const drafts: { attempt: number; window: number }[] = [];
    while (state.decodedCounts[1] === 0) {
      const plan = planStep(state);
      const law = { tokens: Int32Array.of(state.forwardCount), probabilities: Float32Array.of(1) }; // rejected each time
      const results = plan.queries.map(({ want }) => {
        if (want.type === "none") return undefined;
        return want.type === "draw" ? { token: 1, probability: 1 } : law;
      });
      commitStep(state, plan, results);
      const draft = state.drafts[1];
      if (draft !== undefined) drafts.push({ attempt: draft.attempt, window: draft.window });
    }
    expect(drafts).toEqual([2, 3, 4, 5, 6, 7].map((window, attempt) => ({ attempt, window })));
    expect([state.draftCount, state.rejectedCount, state.openedAt[1]]).toEqual([6, 6, 8]);
  }
});

test("a draft drawn in one forward is judged in the next, and both verification orders judge the first one alike", async () => {
  const stub = { rows: 2, columns: 12, rowEnd: "none", reach: 4, seed: 8, codeCount: 6 } as const;
  for (let seed = 0; seed < 30; seed++) {
    const [overlapped, sequential] = await Promise.all(
      (["overlapped", "sequential"] as const).map((verification) =>
        recordStub(stub, { kind: "adaptive", min: 1, verification, test: "rejection" }, { seed }),
      ),
    );
    const verdicts = (run: typeof overlapped) => run?.trace.flatMap(({ drafts }) => drafts);
    expect(verdicts(overlapped)).toEqual(verdicts(sequential));
  }
});
