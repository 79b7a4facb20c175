import { copyFileSync, mkdtempSync, readdirSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { execa } from "execa";
import sharp from "sharp";
import { afterAll, beforeAll, describe, expect, test } from "vitest";
import { readPictureSettings, readPictureTokens } from "../../src/index.ts";
import { buildIfStale } from "../support/build.ts";
import { PACKAGE_ROOT } from "../support/python.ts";
import { tinyCheckpoint } from "../support/tiny-checkpoints.ts";

const folder = mkdtempSync(join(tmpdir(), "zipar-test-picture-"));
afterAll(() => rmSync(folder, { recursive: true }));
beforeAll(buildIfStale);

function zipar(...words: string[]) {
  const main = join(PACKAGE_ROOT, "dist/cli/main.js");
  return execa(process.execPath, [main, ...words], { cwd: folder, reject: false });
}

const pixels = async (name: string) => (await sharp(join(folder, name)).raw().toBuffer()).toString("base64");

describe("a picture of the demo checkpoint", () => {
  test("tells how it was made, and is made again pixel for pixel from that alone", async () => {
    const plain = ["--device", "cpu", "--window", "2", "--lookahead", "0"];
    expect(
      await zipar("generate", "lighthouse", ...plain, "--top-k", "900", "--seed", "7", "--out", "a.png"),
    ).toMatchObject({ exitCode: 0 });
    const info = await zipar("info", "a.png");
    expect(info.stdout).toMatch(/^class +0 lighthouse\nmodel +zipar demo, llamagen: demo\nseed +7\n/);
    const { stdout } = await zipar("info", "a.png", "--json");
    expect(JSON.parse(stdout)).toMatchObject({
      model: { reference: "demo" },
      options: { seed: 7, window: 2, topK: 900 },
    });

    const again = await zipar("generate", "--like", "a.png", "--device", "cpu", "--out", "b.webp");
    expect(again).toMatchObject({ exitCode: 0, stderr: "" });
    expect(await pixels("b.webp")).toBe(await pixels("a.png"));

    copyFileSync(join(folder, "b.webp"), join(folder, "c.txt")); // told by content
    const other = await zipar(
      "generate",
      "--like",
      "c.txt",
      "--device",
      "cpu",
      "--seed",
      "5",
      "--no-metadata",
      "--out",
      "d.png",
    );
    expect(other).toMatchObject({ exitCode: 0 });
    expect(await pixels("d.png")).not.toBe(await pixels("a.png"));
    expect(await zipar("info", "d.png")).toMatchObject({
      exitCode: 2,
      stdout: "",
      stderr: expect.stringContaining("nothing in it tells how it was made"),
    });
    expect(readdirSync(folder).sort()).toEqual(["a.png", "b.webp", "c.txt", "d.png"]);
  });
});

test("a picture of a checkpoint on this machine names no path, and asks for it to be made again", async () => {
  const model = tinyCheckpoint("6x8");
  const words = ["--model", model, "--device", "cpu", "--class", "2", "--out", "e.jpg"];
  expect(await zipar("generate", ...words)).toMatchObject({ exitCode: 0 });
  const { stdout } = await zipar("info", "e.jpg", "--json");
  expect(JSON.parse(stdout)).toMatchObject({ model: { file: "6x8" } });
  expect(stdout).not.toContain(folder.slice(0, folder.lastIndexOf("/")));
  expect(await zipar("generate", "--like", "e.jpg", "--out", "f.png")).toMatchObject({
    exitCode: 2,
    stderr: expect.stringContaining("give --model"),
  });
});

test("a checkpoint in the place of a picture is an error that says how to name one", async () => {
  expect(await zipar("info", "BAAI/Emu3-Gen")).toMatchObject({
    exitCode: 2,
    stderr: expect.stringContaining("--model"),
  });
});

test("a picture is gone on from its own first rows, which the other one says were given", async () => {
  const model = ["--model", tinyCheckpoint("6x8"), "--device", "cpu", "--class", "2"];
  const [first, other] = [join(folder, "g.png"), join(folder, "h.png")];
  expect(await zipar("generate", ...model, "--seed", "1", "--out", first)).toMatchObject({ exitCode: 0 });
  const below = [...model, "--seed", "2", "--prefix", first, "--prefix-rows"];
  expect(await zipar("generate", ...below, "3", "--out", other)).toMatchObject({ exitCode: 0 });
  const [given, all] = [await readPictureTokens(first), await readPictureTokens(other)];
  expect(all.slice(0, 3)).toEqual(given.slice(0, 3));
  expect(all).not.toEqual(given);
  expect((await readPictureSettings(other)).options.prefix).toEqual({ tokens: given.slice(0, 3) });
  expect(await zipar("generate", ...below, "6", "--out", join(folder, "i.png"))).toMatchObject({
    exitCode: 2,
    stderr: expect.stringContaining("expected 1 to 5 rows"),
  });
});
