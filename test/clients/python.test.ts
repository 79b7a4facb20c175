import { mkdtempSync, readFileSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { execa } from "execa";
import sharp from "sharp";
import { afterAll, expect, inject, test } from "vitest";
import { greyCount } from "./pictures.ts";

const address = inject("address");
const folder = mkdtempSync(join(tmpdir(), "zipar-test-clients-"));
afterAll(() => rmSync(folder, { recursive: true }));

/** A program beside this one, in the environment that has its client: what it printed. */
async function run(program: string) {
  const python = process.env["ZIPAR_CLIENTS_PYTHON"];
  if (python === undefined) throw new Error("these tests are run by `npm run test:clients`");
  const path = join(import.meta.dirname, "python", program);
  const { stdout } = await execa(python, ["-I", path, `${address}/v1`, folder]);
  return JSON.parse(stdout);
}

test("openai of PyPI lists, generates, streams and is refused in its own types", async () => {
  const said = await run("with_openai.py");
  expect(said).toMatchObject({
    version: "3.57.0",
    models: ["demo"],
    images: 2,
    usage: { input_tokens: 1, output_tokens: 512, total_tokens: 513 },
    events: [...new Array(2).fill("image_generation.partial_image"), "image_generation.completed"],
    refusal: {
      type: "BadRequestError",
      param: "size",
      says: expect.stringContaining("expected one of 128x128"),
    },
  });
  const [first, second, whole] = await Promise.all(
    ["preview-0.png", "preview-1.png", "whole.png"].map((name) =>
      greyCount(readFileSync(join(folder, name))),
    ),
  );
  expect(first).toBeGreaterThan(second as number);
  expect(second).toBeGreaterThan(whole as number);
});

test("LiteLLM generates pictures and reads their usage", async () => {
  const said = await run("with_litellm.py");
  expect(said).toMatchObject({
    version: "1.110.2",
    usage: { input_tokens: 1, output_tokens: 256, total_tokens: 257 },
    refusal: { type: "BadRequestError", says: expect.stringContaining("expected one of 128x128") },
  });
  expect((await sharp(join(folder, "litellm.png")).metadata()).width).toBe(128);
});
