import { readFileSync } from "node:fs";
import { join } from "node:path";
import { expect, test } from "vitest";
import { packageRoot } from "../../src/python/location.ts";

test.each([
  ["src/version.ts", /^export const VERSION = "(.*)";$/gm],
  ["python-worker/pyproject.toml", /^version = "(.*)"$/gm],
  ["python-worker/zipar_worker/__init__.py", /^__version__ = "(.*)"$/gm],
])("%s has the version of package.json", (path, pattern) => {
  const { version } = JSON.parse(read("package.json")) as { version: string };
  expect(Array.from(read(path).matchAll(pattern), ([, found]) => found)).toEqual([version]);
});

function read(path: string): string {
  return readFileSync(join(packageRoot, path), "utf8");
}
