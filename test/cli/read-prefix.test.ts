import { mkdtempSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { afterEach, beforeEach, describe, expect, test } from "vitest";
import { GeneratedImage } from "../../src/api/image.ts";
import { readPrefix } from "../../src/cli/read-prefix.ts";
import { createEngine, type GenerateOptions, stubWorker } from "../../src/index.ts";
import { ziparErrorOf } from "../support/errors.ts";
import { pictureSettings } from "../support/picture-settings.ts";

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

describe("the first rows of a picture", () => {
  test.each(["a.png", "a.webp", "a.jpg"])("are those that %s carries", async (name) => {
    const path = join(folder, name);
    await using engine = await createEngine({ worker: stubWorker({ rows: 5, columns: 7, codeCount: 3000 }) });
    const { tokens, image } = await engine.generate({ classLabel: 3 });
    await image.save(path, { metadata: true });
    expect(await readPrefix(path, 4)).toEqual({ tokens: tokens.slice(0, 4) });
    const error = await ziparErrorOf(() => readPrefix(path, 6));
    expect(error.message).toContain("has 5 whole rows");
  });

  test.each([
    ["nothing of how it was made", undefined, "nothing in it tells how it was made"],
    ["no tokens", { ...pictureSettings(), tokens: undefined }, "and not its tokens"],
  ])("cannot be had of one that carries %s", async (_, settings, message) => {
    const path = join(folder, "a.png");
    const image = new GeneratedImage({ width: 1, height: 1, data: new Uint8Array(3) }, settings);
    await image.save(path, { metadata: settings !== undefined });
    const error = await ziparErrorOf(() => readPrefix(path, 1));
    expect([error.code, error.message]).toEqual(["picture", expect.stringContaining(message)]);
  });
});

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
    expect(error.message).toContain("has 2 whole rows");
  });
});
