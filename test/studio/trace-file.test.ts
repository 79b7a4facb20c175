import { describe, expect, test } from "vitest";
import { createEngine, parseTrace, stubWorker } from "../../src/index.ts";
import { traceEvents } from "../../src/server/index.ts";
import { readTraceFile } from "../../src/studio/trace-file.ts";

async function traceOf(options: object): Promise<string[]> {
  const lines: string[] = [];
  const engine = await createEngine({ worker: stubWorker({ rows: 4, columns: 6 }) });
  await engine.generate({ classLabel: 3, seed: 5, trace: (line) => lines.push(line), ...options });
  await engine.dispose();
  return lines;
}

const lines = await traceOf({ window: 2, lookahead: 2 });
const changed = (line: number, change: object) =>
  lines.map((text, k) => (k === line ? JSON.stringify({ ...JSON.parse(text), ...change }) : text));

describe("a trace file", () => {
  test.each([{ window: 2, lookahead: 3 }, { window: "guessed" }, { window: "adaptive" }])(
    "has the events that the server makes of it: %o",
    async (options) => {
      const trace = await traceOf(options);
      const expected = [...traceEvents(await parseTrace(trace))];
      expect(readTraceFile(trace.join("\n"))).toEqual(expected);
      expect(readTraceFile(`${trace.join("\r\n")}\r\n\r\n`)).toEqual(expected);
    },
  );

  test("of a run that was cut off plays as far as it goes", () => {
    expect(readTraceFile(lines.slice(0, 4).join("\n"))).toHaveLength(4);
  });

  test.each([
    ["nothing", [], "Line 1: expected a zipar trace"],
    ["no JSON", ["hello"], "Line 1: expected a zipar trace"],
    ["a picture", ["\x89PNG\r\n\x1a\n\0\0"], "Line 1: expected a zipar trace"],
    ["JSON of another kind", ["[1]", "[2]"], "Line 1: expected a zipar trace"],
    ["another object", ['{"a":1}', "{}"], "Line 1: expected a zipar trace"],
    [
      "another version",
      changed(0, { "zipar-trace": 3 }),
      "Line 1: expected version 2 of the format, received version 3",
    ],
    [
      "a grid that is none",
      changed(0, { grid: { rows: 0, columns: 6, rowEnd: "none" } }),
      "Line 1: expected a prompt and a grid",
    ],
    [
      "a grid too large to draw",
      changed(0, { grid: { rows: 1e9, columns: 6, rowEnd: "none" } }),
      "Line 1: expected a prompt and a grid",
    ],
    ["no grid", changed(0, { grid: null }), "Line 1: expected a prompt and a grid"],
    ["no window", changed(0, { window: undefined }), "Line 1: expected `window`"],
    ["a header alone", lines.slice(0, 1), "Line 2: expected a forward, received the end"],
    [
      "a line that is cut off",
      [...lines.slice(0, 3), (lines[3] as string).slice(0, 30)],
      "Line 4: expected forward 3",
    ],
    [
      "a forward that is missing",
      [...lines.slice(0, 2), ...lines.slice(3)],
      "Line 3: expected forward 2, received 3",
    ],
    ["a forward without cells", changed(2, { cells: undefined }), "Line 3: expected `cells`, a list"],
    ["guesses that are none", changed(2, { guesses: null }), "Line 3: expected `guesses`, two counts"],
    ["cells that are null", changed(2, { cells: [null] }), "Line 3: expected cells of the 4 × 6 grid"],
    [
      "a cell outside",
      changed(2, { cells: [{ row: 4, column: 0, token: 1 }] }),
      "Line 3: expected cells of the 4 × 6 grid",
    ],
    [
      "a cell that is no number",
      changed(2, { cells: [{ row: "0", column: 0.5 }] }),
      "Line 3: expected cells of the 4 × 6 grid",
    ],
    ["a query that is none", changed(2, { queries: [null] }), "Line 3: expected queries"],
    [
      "a draft outside",
      changed(2, { drafts: [{ type: "draft-accepted", row: 9 }] }),
      "Line 3: expected drafts",
    ],
  ] as const)("that is %s is refused with its line", (_, given, message) => {
    expect(() => readTraceFile(given.join("\n"))).toThrow(message);
  });
});
