import { mkdtempSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import { join, posix, win32 } from "node:path";
import { afterAll, describe, expect, test } from "vitest";
import { type PictureTarget, pictureTarget } from "../../src/cli/picture-files.ts";

const existing = mkdtempSync(join(tmpdir(), "zipar-test-pictures.d"));
afterAll(() => rmSync(existing, { recursive: true }));

function filesOf(out: string, names: Partial<Parameters<typeof pictureTarget>[1]> = {}, paths = posix) {
  const target = pictureTarget(out, { count: 1, seed: 7, subject: "cat", ...names }, paths);
  return (target as Extract<PictureTarget, { type: "files" }>).files;
}

describe("--out names", () => {
  test.each([
    ["a.png", "a.png"],
    ["./v1.0/a.PNG", "./v1.0/a.PNG"],
    ["a.b.jpeg", "a.b.jpeg"],
    ["runs/v1.0/", "runs/v1.0/cat-7.png"],
    ["a.png/", "a.png/cat-7.png"],
    ["out-2026.11.30/", "out-2026.11.30/cat-7.png"],
    ["renders", "renders/cat-7.png"],
    [".hidden", ".hidden/cat-7.png"],
    ["..", "../cat-7.png"],
    [".", "cat-7.png"],
    ["a\\b.png", "a\\b.png"],
    [existing, join(existing, "cat-7.png")],
  ])("%s for %s", (out, file) => {
    expect(filesOf(out)).toEqual([file]);
  });

  test("several files by numbers, several pictures of a folder by seeds", () => {
    expect(filesOf("x/a.png", { count: 2 })).toEqual(["x/a-1.png", "x/a-2.png"]);
    expect(filesOf("x", { count: 2 })).toEqual(["x/cat-7.png", "x/cat-8.png"]);
  });

  test("standard output by -", () => {
    expect(pictureTarget("-", { count: 1, seed: 7, subject: "cat" }).type).toBe("standard-output");
  });

  test("a folder with a backslash on Windows alone", () => {
    expect(filesOf("runs\\v1.0\\", {}, win32)).toEqual(["runs\\v1.0\\cat-7.png"]);
    expect(() => filesOf("runs\\v1.0\\")).toThrow("ending");
  });

  test.each([".png", "x/.PNG", "a.gif", "a.avif", "v1.0", "a."])("nothing: %s", (out) => {
    expect(() => filesOf(out)).toThrow(/ending/);
  });
});

test("pictures of one seed have names of their own for every prompt and class", () => {
  const long = "a lighthouse on a cliff above the sea at dusk with gulls";
  const subjects = [
    ..."cat|Cat|cat!|CAT|a cat|a-cat|a  cat|灯台|../../etc|class 3|con|.".split("|"),
    long,
    `${long} and a boat`,
    3,
  ];
  const names = subjects.map((subject) => filesOf("x", { subject })[0] as string);
  expect(new Set(names.map((name) => name.toLowerCase())).size).toBe(subjects.length);
  for (const name of names) {
    expect(name).toMatch(/^x\/[^/\\\s]+-7\.png$/);
    expect(Buffer.byteLength(name)).toBeLessThan(255);
  }
  expect(names[0]).toBe("x/cat-7.png");
  expect(names[4]).toBe("x/a-cat-7.png");
});
