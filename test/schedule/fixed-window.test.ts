import fc from "fast-check";
import { describe, expect, test } from "vitest";
import { plan } from "../../src/api/plan.ts";
import type { TokenGrid } from "../../src/schedule/grid.ts";
import { auditTrace } from "../support/audit-trace.ts";
import { type Setting, settings } from "../support/grids.ts";
import { naiveSchedule } from "../support/naive-schedule.ts";
import { runs } from "../support/property-runs.ts";
import { CODE_COUNT, decodedAt, recordFixed } from "../support/run-schedule.ts";

const kinds = ["none", "token"] as const;

function audit(setting: Setting) {
  const trace = recordFixed(setting);
  const { grid, promptLength, window } = setting;
  return {
    trace,
    ...auditTrace(trace, { grid, promptLength, codeCount: CODE_COUNT, windowOf: () => window }),
  };
}

function slotsPerRow({ columns, rowEnd }: TokenGrid): number {
  return rowEnd === "token" ? columns + 1 : columns;
}

test("the rules hold on grids up to 40 x 40: order, visibility, row starts, each cell exactly once", () => {
  fc.assert(
    fc.property(settings(40), (setting) => {
      const { trace } = audit(setting);
      const { rows, columns } = setting.grid;
      expect(trace.length).toBe(columns + (rows - 1) * setting.window);
      for (const { cells } of trace)
        expect(cells.length).toBeLessThanOrEqual(Math.ceil(columns / setting.window));
    }),
    { numRuns: runs(60), seed: 1 },
  );
});

test("the rules hold for every window of every grid up to 6 x 7", () => {
  for (const rowEnd of kinds) {
    for (let rows = 1; rows <= 6; rows++) {
      for (let columns = 1; columns <= 7; columns++) {
        for (let window = 1; window <= columns; window++) {
          for (const refreshRowEnds of [false, true]) {
            const grid = { rows, columns, rowEnd };
            const { trace } = audit({ grid, window, promptLength: 2, refreshRowEnds });
            expect(trace.length, JSON.stringify({ grid, window })).toBe(columns + (rows - 1) * window);
            expect(decodedAt(trace, rows, columns)).toEqual(naiveSchedule(grid, window));
          }
        }
      }
    }
  }
});

test("every cell is decoded in the forward in which the rule, taken word for word, first allows it", () => {
  fc.assert(
    fc.property(settings(14), (setting) => {
      const { rows, columns } = setting.grid;
      expect(decodedAt(recordFixed(setting), rows, columns)).toEqual(
        naiveSchedule(setting.grid, setting.window),
      );
    }),
    { numRuns: runs(80), seed: 2 },
  );
});

describe("what is fed", () => {
  test("the prompt is fed once, in the first forward, which draws the first cell", () => {
    const [prefill] = recordFixed({
      grid: { rows: 2, columns: 3, rowEnd: "none" },
      window: 2,
      promptLength: 4,
      refreshRowEnds: false,
    });
    expect(prefill?.queries.map(({ kind, slot, token }) => [kind, slot, token])).toEqual(
      [0, 1, 2, 3].map((slot) => ["prompt", slot, 0]),
    );
    expect(prefill?.queries.map(({ want }) => want.type)).toEqual(["none", "none", "none", "draw"]);
    expect(prefill?.cells.map(({ row, column }) => [row, column])).toEqual([[0, 0]]);
  });

  test("each cell is fed once, in the forward after it was decoded; the last cell of the image never", () => {
    fc.assert(
      fc.property(settings(16), (setting) => {
        const { trace, feeds } = audit(setting);
        const { grid, promptLength } = setting;
        const forwards = decodedAt(trace, grid.rows, grid.columns);
        for (let row = 0; row < grid.rows; row++) {
          for (let column = 0; column < grid.columns; column++) {
            const isLastSlot = grid.rowEnd === "none" && column === grid.columns - 1;
            const fed = feeds.get(promptLength + row * slotsPerRow(grid) + column) ?? [];
            if (row === grid.rows - 1 && column === grid.columns - 1) expect(fed).toEqual([]);
            else if (!isLastSlot) {
              const token = expect.any(Number);
              const forward = (forwards[row * grid.columns + column] as number) + 1;
              expect(fed).toEqual([{ forward, kind: "ordinary", token }]);
            }
          }
        }
      }),
      { numRuns: runs(60), seed: 3 },
    );
  });

  test("without row ends, a surrogate opens a row and its slot is refreshed once by the true token", () => {
    fc.assert(
      fc.property(settings(16), (setting) => {
        const grid = { ...setting.grid, rowEnd: "none" as const };
        const { trace, feeds } = audit({ ...setting, grid });
        const forwards = decodedAt(trace, grid.rows, grid.columns);
        for (let row = 0; row < grid.rows - 1; row++) {
          const fed = feeds.get(setting.promptLength + (row + 1) * grid.columns - 1) ?? [];
          const complete = forwards[(row + 1) * grid.columns - 1] as number;
          const opened = forwards[(row + 1) * grid.columns] as number;
          const kindsFed = fed.map(({ kind, forward }) => [kind, forward]);
          if (setting.window === grid.columns) expect(kindsFed).toEqual([["row-start", complete + 1]]);
          else
            expect(kindsFed).toEqual([
              ["surrogate", opened],
              ["refresh", complete + 1],
            ]);
        }
      }),
      { numRuns: runs(60), seed: 4 },
    );
  });

  test("with row ends, the row end itself opens the next row, and refreshRowEnds feeds each early one again once", () => {
    fc.assert(
      fc.property(settings(16), (setting) => {
        const grid = { ...setting.grid, rowEnd: "token" as const };
        const { trace, feeds } = audit({ ...setting, grid });
        const forwards = decodedAt(trace, grid.rows, grid.columns);
        for (let row = 0; row < grid.rows; row++) {
          const fed = feeds.get(setting.promptLength + (row + 1) * (grid.columns + 1) - 1) ?? [];
          if (row === grid.rows - 1) {
            expect(fed).toEqual([]);
            continue;
          }
          const opening = ["row-start", forwards[(row + 1) * grid.columns]];
          const complete = forwards[(row + 1) * grid.columns - 1] as number;
          const isEarly = setting.window < grid.columns;
          const expected =
            isEarly && setting.refreshRowEnds ? [opening, ["refresh", complete + 1]] : [opening];
          expect(fed.map(({ kind, forward }) => [kind, forward])).toEqual(expected);
        }
      }),
      { numRuns: runs(60), seed: 5 },
    );
  });

  test("written slots are exactly the slots that were fed", () => {
    fc.assert(
      fc.property(settings(16), (setting) => {
        const { feeds, visible } = audit(setting);
        expect([...visible].sort((a, b) => a - b)).toEqual([...feeds.keys()].sort((a, b) => a - b));
      }),
      { numRuns: runs(40), seed: 6 },
    );
  });
});

describe("forward counts are those of the paper and of the closed form", () => {
  test.each([
    [90, 90, 7, "token", 713],
    [48, 48, 11, "token", 565],
    [24, 24, 8, "none", 208],
    [32, 32, 16, "none", 528],
    [24, 24, 24, "none", 576],
    [9, 13, 13, "token", 117],
    [68, 120, 5, "token", 455],
    [1, 17, 3, "none", 17],
    [17, 1, 1, "token", 17],
  ] as const)("%i x %i at window %i, row end %s: %i forwards", (rows, columns, window, rowEnd, forwards) => {
    expect(plan({ rows, columns, window, rowEnd }).forwards).toBe(forwards);
  });

  test("a forward decodes at most ceil(W / s) cells and feeds at most one row start and one refresh more per period", () => {
    fc.assert(
      fc.property(settings(30), ({ grid, window }) => {
        const { maxQueries } = plan({ ...grid, window });
        const rowsAtOnce = Math.ceil(grid.columns / window);
        expect(maxQueries).toBeLessThanOrEqual(rowsAtOnce + 2);
      }),
      { numRuns: runs(60), seed: 7 },
    );
  });
});
