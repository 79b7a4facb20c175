import { readdirSync, readFileSync } from "node:fs";
import { join } from "node:path";
import { expect, test } from "vitest";
import { packageRoot } from "../../src/python/location.ts";

/** Parses a function's body with `await` in it, and runs nothing. */
const AsyncFunction = (async () => {}).constructor as new (body: string) => unknown;

const pages = ["README.md", ...["docs", "docs/models", "proto", "checkpoints/demo"].flatMap(markdownIn)];
const blocks = pages.flatMap((page) =>
  Array.from(readPage(page).matchAll(/^```(?:m?[jt]s|javascript|typescript)\n(.*?)^```/gms), ([, code]) => ({
    page,
    code: code as string,
  })),
);

test("the pages hold examples", () => {
  expect(new Set(blocks.map(({ page }) => page))).toContain("README.md");
});

test.each(blocks)("an example in $page is JavaScript for every Node that zipar supports", ({ code }) => {
  const body = code
    .replace(/^(import .*|export \{.*\});$/gm, "")
    .replace(/^export default /gm, "void ")
    .replace(/^export /gm, "")
    .replaceAll("import.meta", "importMeta");
  expect(() => new AsyncFunction(body)).not.toThrow();
  expect(body).not.toMatch(/^\s*(await )?using /m); // newer versions of Node parse it
});

function readPage(page: string): string {
  return readFileSync(join(packageRoot, page), "utf8");
}

function markdownIn(folder: string): readonly string[] {
  return readdirSync(join(packageRoot, folder))
    .filter((name) => name.endsWith(".md"))
    .map((name) => join(folder, name));
}
