import { mkdtempSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { afterEach, beforeEach, describe, expect, test } from "vitest";
import { readPrefix } from "../../src/cli/read-prefix.ts";
import { createEngine, type GenerateOptions, stubWorker } from "../../src/index.ts";
import { ziparErrorOf } from "../support/errors.ts";

let folder: string;
beforeEach(() => {
  folder = mkdtempSync(join(tmpdir(), "zipar-test-prefix-"));
});
afterEach(() => rmSync(folder, { recursive: true }));

/** Records a run of 5 x 7 tokens, of which so many lines are kept. */
async function recorded(options: GenerateOptions = {}, lineCount?: number) {
  const path = join(folder, "run.jsonl");
  const lines: string[] = [];
  await using engine = await createEngine({ worker: stubWorker({ rows: 5, columns: 7, codeCount: 40 }) });
  const trace = (line: string) => void lines.push(line);
  const { tokens } = await engine.generate({ classLabel: 3, window: 2, lookahead: 0, ...options, trace });
  writeFileSync(
    path,
    lines
      .slice(0, lineCount)
      .map((line) => `${line}\n`)
      .join(""),
  );
  return { path, tokens };
}

describe("the first rows of a recorded run", () => {
  test("are those of its picture", async () => {
    const { path, tokens } = await recorded();
    expect(await readPrefix(path, 3)).toEqual({ tokens: tokens.slice(0, 3) });
    expect(await readPrefix(path, 5)).toEqual({ tokens });
  });

  test("begin with those that were given to it", async () => {
    const prefix = { tokens: [[1, 2, 3, 4, 5, 6, 7]] };
    const { path, tokens } = await recorded({ prefix });
    expect(tokens[0]).toEqual(prefix.tokens[0]);
    expect(await readPrefix(path, 2)).toEqual({ tokens: tokens.slice(0, 2) });
  });

  test("are as many as were whole when it stopped", async () => {
    const { path, tokens } = await recorded({}, 1 + 10); // after forward 9 row 1 is whole too, and row 2 is not
    expect(await readPrefix(path, 2)).toEqual({ tokens: tokens.slice(0, 2) });
    const error = await ziparErrorOf(() => readPrefix(path, 3));
    expect(error.message).toContain("--prefix-rows 3");
    expect(error.message).toContain("has 2 rows of 7 tokens");
  });
});
