import { mkdirSync, mkdtempSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join, resolve } from "node:path";
import { afterAll, beforeAll, expect, test } from "vitest";
import { resolveModelReference, resolvePartReference } from "../../src/worker/model-reference.ts";
import { ziparErrorOf } from "../support/errors.ts";

const home = process.cwd();
let folder: string;
beforeAll(() => {
  folder = mkdtempSync(join(tmpdir(), "zipar-test-reference-"));
  process.chdir(folder);
  mkdirSync("BAAI/Emu3-Gen", { recursive: true });
  writeFileSync("weights.pt", "");
});
afterAll(() => {
  process.chdir(home);
  rmSync(folder, { recursive: true, force: true });
});

const hub = (repository: string, path: string | null = null, revision: string | null = null) => ({
  type: "hub",
  repository,
  path,
  revision,
});

test("demo is the checkpoint of the package, wherever the process runs", () => {
  expect(resolveModelReference("demo")).toEqual({ type: "path", path: resolve(home, "checkpoints/demo") });
});

test.each(["weights.pt", "./weights.pt", "BAAI/Emu3-Gen", "BAAI"])(
  "%s exists, so it is that path",
  (reference) => {
    expect(resolveModelReference(reference)).toEqual({ type: "path", path: resolve(reference) });
  },
);

test.each([
  ["deepseek-ai/Janus-Pro-1B", hub("deepseek-ai/Janus-Pro-1B")],
  ["BAAI/Emu3-Gen-hf@main", hub("BAAI/Emu3-Gen-hf", null, "main")],
  ["a/b@refs/pr/3", hub("a/b", null, "refs/pr/3")],
  ["peizesun/llamagen_t2i/t2i_XL_stage1_256.pt", hub("peizesun/llamagen_t2i", "t2i_XL_stage1_256.pt")],
  ["a/b/folder/file.safetensors@v1.0", hub("a/b", "folder/file.safetensors", "v1.0")],
  ["a/b.v2", hub("a/b.v2")],
])("%s does not exist, so it is a hub id", (reference, source) => {
  expect(resolveModelReference(reference)).toEqual(source);
  expect(resolvePartReference(reference, "image tokenizer")).toEqual(source);
});

test.each([
  "missing",
  "missing.safetensors",
  "models/missing.pt",
  "models/missing.CKPT",
  "./BAAI/Emu3-VisionTokenizer",
  "../BAAI/Emu3-VisionTokenizer",
  "/models/Emu3",
  "~/models/Emu3",
  "models\\Emu3",
  "C:/models/Emu3",
  "a//b",
  "a/../b",
  "a/b/../../etc/passwd",
  "a/b@",
])("%s looks like a path, so it must exist", async (reference) => {
  const error = await ziparErrorOf(() => resolveModelReference(reference));
  expect(error.code).toBe("model-not-found");
  expect(error.message).toContain(resolve(reference));
  expect(error.message).toContain("hub id");
  expect((await ziparErrorOf(() => resolvePartReference(reference, "text encoder"))).message).toContain(
    "no text encoder at",
  );
});
