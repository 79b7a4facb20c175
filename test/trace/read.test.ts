import { mkdtempSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { afterAll, describe, expect, test } from "vitest";
import type { ResolvedGeneration } from "../../src/api/generate-options.ts";
import { createEngine, stubWorker } from "../../src/index.ts";
import { planStep } from "../../src/schedule/plan-step.ts";
import { randomKey } from "../../src/schedule/random.ts";
import { startSequence } from "../../src/schedule/sequence-state.ts";
import { parseTrace, readTrace } from "../../src/trace/read.ts";
import { type TracedWorker, traceLines } from "../../src/trace/record.ts";
import { replayTrace } from "../../src/trace/replay.ts";
import { law } from "../support/chi-square.ts";
import { ziparErrorOf } from "../support/errors.ts";
import { recordTrace } from "../support/record-trace.ts";

const STUB = { rows: 3, columns: 5, codeCount: 50 } as const;
const folder = mkdtempSync(join(tmpdir(), "zipar-trace-"));
afterAll(() => rmSync(folder, { recursive: true, force: true }));

const lines = await recordTrace(STUB, { window: { kind: "adaptive", min: 1 } });

describe("a trace", () => {
  test("begins with a header that names the run, and has one line per forward", () => {
    expect(JSON.parse(lines[0] as string)).toEqual({
      "zipar-trace": 2,
      model: "stub",
      device: "stub",
      dtype: "float32",
      conditioning: { type: "class", classIndex: 3 },
      grid: { rows: 3, columns: 5, rowEnd: "none" },
      window: { kind: "adaptive", min: 1, verification: "overlapped", test: "rejection" },
      refreshRowEnds: false,
      surrogate: "two-rows-up",
      sampling: { guidanceScale: 1, temperature: 1, topK: 0, topP: 1 },
      seed: 5,
      promptLength: 1,
      codeCount: 50,
    });
    expect(lines.slice(1).map((line) => (JSON.parse(line) as { forward: number }).forward)).toEqual(
      Array.from({ length: lines.length - 1 }, (_, k) => k + 1),
    );
  });

  test("is read from a file, whatever ends its lines", async () => {
    const path = join(folder, "run.jsonl");
    writeFileSync(path, `${lines.join("\r\n")}\r\n`);
    const trace = await readTrace(path);
    expect(trace.steps).toEqual((await parseTrace(lines)).steps);
    expect(replayTrace(trace).forwards).toBe(lines.length - 1);
  });

  test("keeps probabilities to the last bit", async () => {
    const q = law([1 / 3, 0.1, 1e-20, 2 / 3, 2 ** -149]);
    const state = startSequence({
      grid: { rows: 2, columns: 2, rowEnd: "none" },
      promptLength: 1,
      codeCount: 50,
      window: { kind: "fixed", size: 1 },
      key: randomKey(0),
    });
    state.forwardCount = 2;
    const plan = planStep(state);
    const query = {
      kind: "surrogate",
      token: 1,
      slot: 2,
      step: 1,
      want: { type: "distribution", row: 1, column: 0 },
    } as const;
    const outcome = { cells: [], drafts: [], guesses: { fedCount: 0, heldCount: 0 } };
    const step = { plan: { ...plan, queries: [query] }, results: [q], outcome };
    const [line = ""] = traceLines({} as TracedWorker, {} as ResolvedGeneration, state, step, 1);
    const { queries } = JSON.parse(line) as { queries: { want: { result: { probabilities: number[] } } }[] };
    expect(Float32Array.from(queries[0]?.want.result.probabilities ?? [])).toEqual(q.probabilities);
  });
});

describe("what is no trace is refused with its line, what was expected and what was received", () => {
  const change = (line: number, edit: (text: string) => string) =>
    lines.map((text, k) => (k === line - 1 ? edit(text) : text));

  test.each<[string, readonly string[], number, string]>([
    ["an empty file", [], 1, "expected a zipar trace"],
    ["a picture", ["\u0089PNG", "\u001a"], 1, "received ?PNG"],
    ["another JSON file", ['{"name":"zipar"}'], 1, 'received {"name":"zipar"}'],
    [
      "a newer version",
      change(1, (text) => text.replace('-trace":2', '-trace":3')),
      1,
      "expected version 2 of the format, received version 3",
    ],
    ["a header alone", lines.slice(0, 1), 2, "expected forward 1, received the end of the file"],
    [
      "a line that was cut off",
      change(4, (text) => text.slice(0, 50)),
      4,
      "expected forward 3 as one JSON object",
    ],
    ["an empty line", change(3, () => ""), 3, "received an empty line"],
    ["a missing forward", lines.filter((_, k) => k !== 4), 5, "forward: expected 4, received 5"],
    [
      "a word for a number",
      change(3, (text) => text.replace('"token":', '"token":"x","t":')),
      3,
      'received "x"',
    ],
    ["an unknown field", change(3, (text) => text.replace("{", '{"extra":1,')), 3, "extra"],
    [
      "a cell outside of the grid",
      change(3, (text) => text.replace('"cells":[{"row":0', '"cells":[{"row":3')),
      3,
      "cells[0]: expected a cell of the 3 x 5 grid",
    ],
    [
      "a grid that is too large",
      change(1, (text) => text.replace('"rows":3', '"rows":100000')),
      1,
      "grid.rows",
    ],
    [
      "a probability too few",
      change(3, (text) => text.replace(/"probabilities":\[[^,]+,/, '"probabilities":[')),
      3,
      "as many probabilities as tokens",
    ],
  ])("%s", async (_, changed, line, message) => {
    const error = await ziparErrorOf(() => parseTrace(changed, "run.jsonl"));
    expect(error.code).toBe("trace");
    expect(error.details.line).toBe(line);
    expect(error.message).toMatch(new RegExp(`^run.jsonl, line ${line}\\b`));
    expect(error.message).toContain(message);
  });

  test("a path that cannot be read", async () => {
    expect((await ziparErrorOf(() => readTrace(join(folder, "nothing.jsonl")))).message).toContain("ENOENT");
    expect((await ziparErrorOf(() => readTrace(folder))).message).toContain("not a file");
  });
});

describe("recording", () => {
  test("that fails ends its own image and no other", async () => {
    await using engine = await createEngine({ worker: stubWorker(STUB) });
    const request = { classLabel: 3, seed: 5, window: 2, image: false } as const;
    const full = new Error("disk full");
    let lineCount = 0;
    const trace = () => {
      lineCount += 1;
      if (lineCount === 4) throw full;
    };
    const outcomes = await Promise.allSettled([
      engine.generate({ ...request, trace }),
      engine.generate(request),
    ]);
    expect(outcomes[0]).toMatchObject({ status: "rejected", reason: full });
    expect(outcomes[1]).toMatchObject({ status: "fulfilled" });
    expect(lineCount).toBe(4);
  });

  test("of a cancelled image stops with it", async () => {
    await using engine = await createEngine({ worker: stubWorker(STUB) });
    const abort = new AbortController();
    const recorded: string[] = [];
    const trace = (line: string) => {
      if (recorded.push(line) === 3) abort.abort();
    };
    const generation = engine.generate({
      classLabel: 3,
      window: 2,
      image: false,
      trace,
      signal: abort.signal,
    });
    expect((await ziparErrorOf(() => generation)).code).toBe("cancelled");
    expect((await parseTrace(recorded)).steps).toHaveLength(2);
  });

  test("needs a function", async () => {
    await using engine = await createEngine({ worker: stubWorker(STUB) });
    const trace = "run.jsonl" as unknown as (line: string) => void;
    expect((await ziparErrorOf(() => engine.generate({ classLabel: 3, trace }))).message).toContain(
      "expected a function",
    );
  });
});
