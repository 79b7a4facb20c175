import { expect, test } from "vitest";
import { randomKey } from "../../src/schedule/random.ts";
import { startSequence } from "../../src/schedule/sequence-state.ts";
import type { Window } from "../../src/schedule/window.ts";
import { recordStub } from "../support/record-stub.ts";
import { decodedAt, record, recordFixed, type TraceStep } from "../support/run-schedule.ts";

const full = 6;
const fixed = [
  { name: "fixed-6x8-window-3", rows: 6, columns: 8, window: 3, rowEnd: "none" },
  { name: "fixed-6x8-window-3-row-ends", rows: 6, columns: 8, window: 3, rowEnd: "token" },
  { name: "full-4x6", rows: 4, columns: full, window: full, rowEnd: "none" },
  { name: "full-4x6-row-ends", rows: 4, columns: full, window: full, rowEnd: "token" },
] as const;

test.each(fixed)("the trace of $name is unchanged", async ({ name, rows, columns, window, rowEnd }) => {
  const grid = { rows, columns, rowEnd };
  const trace = recordFixed({ grid, window, promptLength: 2, refreshRowEnds: false });
  const title = `${rows} x ${columns}, window ${window}, row end ${rowEnd}: ${trace.length} forwards`;
  await expect(drawTrace(title, trace, rows, columns)).toMatchFileSnapshot(`../traces/${name}.txt`);
});

test("the trace of an adaptive run on the stub is unchanged", async () => {
  const window: Window = { kind: "adaptive", min: 1, verification: "overlapped", test: "rejection" };
  const stub = { rows: 6, columns: 12, rowEnd: "none", reach: 3, seed: 4, codeCount: 50 } as const;
  const { trace, state } = await recordStub(stub, window, { seed: 9, temperature: 0 });
  const title =
    `6 x 12, adaptive from 1 on a stub of reach 3, greedy: ${trace.length} forwards, ` +
    `rows opened at ${state.openedAt.subarray(1).join(" ")}`;
  await expect(drawTrace(title, trace, 6, 12)).toMatchFileSnapshot("../traces/adaptive-6x12-reach-3.txt");
});

test("a trace of nothing but draws needs no worker", () => {
  const grid = { rows: 1, columns: 1, rowEnd: "none" } as const;
  const state = startSequence({
    grid,
    promptLength: 1,
    codeCount: 2,
    window: { kind: "fixed", size: 1 },
    key: randomKey(0),
  });
  const trace = record(state, ({ queries }) => queries.map(() => ({ token: 1, probability: 1 })));
  expect(decodedAt(trace, 1, 1)).toEqual([1]);
});

const MARKS = {
  prompt: "p",
  ordinary: ".",
  "row-start": ">",
  surrogate: "~",
  draft: "?",
  refresh: "!",
  guess: "g",
} as const;

/** Two readable parts: the forward at which each cell was decoded, and what each forward fed. */
function drawTrace(title: string, trace: readonly TraceStep[], rows: number, columns: number): string {
  const forwards = decodedAt(trace, rows, columns);
  const width = String(trace.length).length + 1;
  const grid = Array.from({ length: rows }, (_, row) =>
    forwards
      .slice(row * columns, (row + 1) * columns)
      .map((forward) => String(forward).padStart(width))
      .join(""),
  );
  const feeds = trace.map(({ queries, runs, drafts }, k) => {
    const fed = queries.map(
      ({ kind, slot, want }) => `${MARKS[kind]}${slot}${want.type === "none" ? "" : arrow(want)}`,
    );
    const pairs = Array.from(
      { length: runs.length / 2 },
      (_, run) => `[${runs[2 * run]},${runs[2 * run + 1]})`,
    );
    const verdicts = drafts.map(({ type, row, window }) => `  ${type} in row ${row} at window ${window}`);
    return `${String(k + 1).padStart(width)}  ${fed.join(" ")}  sees ${pairs.join("")}${verdicts.join("")}`;
  });
  return [
    title,
    "",
    "Forward at which each cell was decoded:",
    ...grid,
    "",
    "What each forward fed: slot, and the cell drawn from it. p prompt, . newest token of a row, > row start,",
    "~ surrogate row start, ? draft, ! refresh. A distribution wanted instead of a draw is marked *.",
    ...feeds,
    "",
  ].join("\n");
}

function arrow(want: { type: string; row: number; column: number }): string {
  return `->${want.type === "distribution" ? "*" : ""}(${want.row},${want.column})`;
}
