import {
  existsSync,
  mkdirSync,
  mkdtempSync,
  readdirSync,
  readFileSync,
  rmSync,
  symlinkSync,
  writeFileSync,
} from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { execa } from "execa";
import sharp from "sharp";
import { afterAll, beforeAll, expect, test } from "vitest";
import { buildIfStale } from "../support/build.ts";
import { PACKAGE_ROOT } from "../support/python.ts";

/** What each example is run with, the files that it writes and what it says. */
const runs = [
  {
    parameters: ["generate.mjs", "mountains", "mountains.webp"],
    files: ["mountains.webp"],
    says: /forwards instead of 256/,
  },
  { parameters: ["events.mjs", "--stub"], files: ["image.png", "preview"], says: /256 of 256 tokens/ },
  {
    parameters: ["batch.mjs", "--stub"],
    files: ["class-0.png", "class-1.png", "class-3.png", "class-4.png"],
    says: /class-2.png: cancelled/,
  },
  {
    parameters: ["compare-windows.mjs", "9", "12"],
    files: [],
    says: /window 4: 44 forwards planned, 44 run/,
  },
  { parameters: ["--test", "test-your-code.test.mjs"], files: [], says: /pass 1/ },
];

const directory = join(PACKAGE_ROOT, "examples");
const folder = mkdtempSync(join(tmpdir(), "zipar-test-examples-"));
beforeAll(buildIfStale);
afterAll(() => rmSync(folder, { recursive: true, force: true }));

test.each(runs)("$parameters does what it says", async ({ parameters, files, says }) => {
  const cwd = mkdtempSync(join(folder, "run-"));
  const paths = parameters.map((word) => (word.endsWith(".mjs") ? join(directory, word) : word));
  // A test runner within a test runner would report to the outer one.
  const { stdout } = await execa(process.execPath, paths, { cwd, env: { NODE_TEST_CONTEXT: undefined } });
  expect(stdout).toMatch(says);
  const written = readdirSync(cwd).sort();
  for (const file of files) expect(written.some((name) => name.startsWith(file))).toBe(true);
  for (const name of written) expect((await sharp(join(cwd, name)).metadata()).width).toBeGreaterThan(0);
  if (parameters[0] === "batch.mjs") expect(existsSync(join(cwd, "class-2.png"))).toBe(false);
});

/** The first program of a page, the files that it writes and what it says. */
const pages = [
  { page: "README.md", files: ["lighthouse.png"], says: /plainForwards: 256/ },
  { page: "docs/getting-started.md", files: ["sailboat.png", "preview"], says: /forwards instead of 256/ },
  { page: "docs/testing-schedules.md", files: [], says: /60 forwards, replayed/ },
];

test.each(pages)("the first program of $page runs as it stands", async ({ page, files, says }) => {
  const text = readFileSync(join(PACKAGE_ROOT, page), "utf8");
  const [, code = ""] = /^```js\n(.*?)^```/ms.exec(text) ?? [];
  const cwd = mkdtempSync(join(folder, "page-"));
  mkdirSync(join(cwd, "node_modules"));
  symlinkSync(PACKAGE_ROOT, join(cwd, "node_modules", "zipar"), "junction");
  writeFileSync(join(cwd, "first.mjs"), code);
  const { stdout } = await execa(process.execPath, ["first.mjs"], { cwd });
  expect(stdout).toMatch(says);
  const written = readdirSync(cwd);
  for (const file of files) {
    const path = written.find((name) => name.startsWith(file));
    expect(path, file).toBeDefined();
    expect((await sharp(join(cwd, path as string)).metadata()).width).toBeGreaterThan(0);
  }
});

test("every example is run", () => {
  const tested = runs.flatMap(({ parameters }) => parameters.filter((word) => word.endsWith(".mjs")));
  expect(readdirSync(directory).sort()).toEqual(tested.sort());
});
