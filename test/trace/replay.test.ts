import { describe, expect, test } from "vitest";
import type { GenerateOptions, StubOptions, ZiparError } from "../../src/index.ts";
import { parseTrace } from "../../src/trace/read.ts";
import { replayTrace } from "../../src/trace/replay.ts";
import { ziparErrorOf } from "../support/errors.ts";
import { recordTrace } from "../support/record-trace.ts";

const STUB: StubOptions = { rows: 5, columns: 9, codeCount: 50, promptLength: 3 };
const adaptive = (verification: "overlapped" | "sequential", test: "rejection" | "coupled") =>
  ({ kind: "adaptive", min: 1, verification, test }) as const;

const PREFIX = { tokens: [8, 9].map((first) => Array.from({ length: 9 }, (_, k) => first + 3 * k)) };

const RUNS: readonly (readonly [string, StubOptions, GenerateOptions])[] = [
  ["a fixed window", STUB, { window: 2 }],
  ["next-token order", STUB, { window: "full" }],
  ["row-end tokens", { ...STUB, rowEnd: "token" }, { window: 2 }],
  ["row-end tokens that are fed again", { ...STUB, rowEnd: "token" }, { window: 2, refreshRowEnds: true }],
  ["another surrogate", STUB, { window: 2, surrogate: "newest" }],
  ["a guessed window", STUB, { window: { kind: "guessed", size: 2 } }],
  [
    "a guessed window with row ends",
    { ...STUB, rowEnd: "token" },
    { window: { kind: "guessed", size: 1, unchanged: 1 } },
  ],
  ["overlapped rejection", STUB, { window: adaptive("overlapped", "rejection") }],
  ["sequential rejection", STUB, { window: adaptive("sequential", "rejection") }],
  ["overlapped coupled", STUB, { window: adaptive("overlapped", "coupled") }],
  [
    "sequential coupled with row ends",
    { ...STUB, rowEnd: "token" },
    { window: adaptive("sequential", "coupled") },
  ],
  ["a prefix", STUB, { window: 2, prefix: PREFIX }],
  [
    "a prefix with row ends and guesses",
    { ...STUB, rowEnd: "token" },
    { window: 2, lookahead: 3, prefix: PREFIX },
  ],
  ["a prefix under a guessed window", STUB, { window: { kind: "guessed", size: 2 }, prefix: PREFIX }],
  ["a prefix and drafts", STUB, { window: adaptive("overlapped", "rejection"), prefix: PREFIX }],
  ["a seed of more than 32 bits", STUB, { window: adaptive("overlapped", "rejection"), seed: 2 ** 40 + 9 }],
];

describe("a recorded run", () => {
  test.each(RUNS)("of %s replays to the same plans, verdicts and cells", async (_, stub, options) => {
    const lines = await recordTrace(stub, options);
    const replay = replayTrace(await parseTrace(lines));
    expect(replay.forwards).toBe(lines.length - 1);
    const isAdaptive = typeof options.window === "object" && options.window.kind === "adaptive";
    expect(replay.rejectedCount > 0, "rejected drafts").toBe(isAdaptive);
  });

  test("is the same one each time that it is made", async () => {
    const options: GenerateOptions = { window: adaptive("overlapped", "rejection"), topK: 3 };
    expect(await recordTrace(STUB, options)).toEqual(await recordTrace(STUB, options));
  });

  test("is the same one in the middle of a batch", async () => {
    const { createEngine, stubWorker } = await import("../../src/index.ts");
    const alone = await recordTrace(STUB, { window: 2 });
    const lines: string[] = [];
    await using engine = await createEngine({ worker: stubWorker(STUB) });
    await Promise.all([
      engine.generate({ classLabel: 1, window: "full", image: false }),
      engine.generate({
        classLabel: 3,
        seed: 5,
        window: 2,
        lookahead: 0,
        image: false,
        trace: (line) => lines.push(line),
      }),
    ]);
    const timeless = (line: string) => line.replace(/"atMs":[\d.]+/, "");
    expect(lines.map(timeless)).toEqual(alone.map(timeless));
  });
});

interface Line {
  // a line is changed in ways that its type forbids
  // biome-ignore lint/suspicious/noExplicitAny: see above
  [key: string]: any;
}

/** Records an adaptive run, changes one of its lines, and gives the error of replaying it. */
async function replayChanged(line: number, change: (record: Line) => void): Promise<ZiparError> {
  const lines = await recordTrace(STUB, { window: adaptive("overlapped", "rejection") });
  const record = JSON.parse(lines[line - 1] as string) as Line;
  change(record);
  lines[line - 1] = JSON.stringify(record);
  const trace = await parseTrace(lines, "changed.jsonl");
  return ziparErrorOf(() => replayTrace(trace));
}

describe("a changed trace is refused at the first line that the change makes wrong", () => {
  test.each<[string, number, (record: Line) => void, number, string]>([
    ["a fed token", 5, (step) => (step.queries[0].token += 1), 5, "queries[0].token"],
    ["a slot", 4, (step) => (step.queries[1].slot -= 1), 4, "queries[1].slot"],
    ["a query's kind", 4, (step) => (step.queries[0].kind = "refresh"), 4, "queries[0].kind"],
    ["a random number", 6, (step) => (step.queries[0].want.uniform /= 2), 6, "queries[0].want.uniform"],
    ["a query too many", 4, (step) => step.queries.push({ ...step.queries[0], slot: 47 }), 4, "queries[3]"],
    ["a query too few", 4, (step) => step.queries.pop(), 4, "queries[2]"],
    ["a run", 6, (step) => (step.runs[0][1] += 1), 6, "runs[0][1]"],
    ["a committed token", 3, (step) => (step.cells[0].token ^= 1), 3, "cells[0].token"],
    ["a drawn token", 3, (step) => (step.queries[0].want.result.token ^= 1), 3, "cells[0].token"],
    ["a verdict", 4, (step) => (step.drafts[0].window += 1), 4, "drafts[0].window"],
    [
      "a distribution",
      3,
      (step) =>
        (step.queries[1].want.result.tokens = step.queries[1].want.result.tokens.map((t: number) => t + 1)),
      4,
      "queries[2].token",
    ],
    ["the seed", 1, (header) => (header.seed += 1), 2, "queries[2].want.uniform"],
    ["the window", 1, (header) => (header.window.min = 2), 3, "queries[1]"],
    ["the grid", 1, (header) => (header.grid.columns += 1), 3, "queries[1].slot"],
    ["the prompt's length", 1, (header) => (header.promptLength = 2), 2, "queries[1].want.type"],
  ])("%s", async (_, line, change, wrongLine, path) => {
    const error = await replayChanged(line, change);
    expect([error.code, error.details.line, error.details.path]).toEqual(["trace-mismatch", wrongLine, path]);
    expect(error.message).toContain(
      `changed.jsonl does not replay; the first difference is on line ${wrongLine}`,
    );
    expect(error.message).toMatch(/: expected .+, received .+/);
  });

  test("probabilities that cannot be drawn from", async () => {
    const error = await replayChanged(3, (step) => step.queries[1].want.result.probabilities.fill(0));
    expect(error.details).toMatchObject({ line: 3, path: "queries" });
  });

  test("a run that was cut off", async () => {
    const lines = await recordTrace(STUB, { window: 2 });
    const trace = await parseTrace(lines.slice(0, 8));
    const error = await ziparErrorOf(() => replayTrace(trace));
    expect(error.message).toContain(
      "line 9: expected forward 8 (16 of 45 cells are decoded), received the end of the file",
    );
  });

  test("a forward too many", async () => {
    const lines = await recordTrace(STUB, { window: 2 });
    const last = JSON.parse(lines.at(-1) as string) as { forward: number };
    const trace = await parseTrace([...lines, JSON.stringify({ ...last, forward: last.forward + 1 })]);
    const error = await ziparErrorOf(() => replayTrace(trace));
    expect(error.details).toMatchObject({ line: lines.length + 1, received: `forward ${last.forward + 1}` });
  });
});
