import { existsSync, readdirSync, readFileSync } from "node:fs";
import { dirname, join } from "node:path";
import { expect, test } from "vitest";
import { packageRoot } from "../../src/python/location.ts";

const pages = [
  ...markdownIn("."),
  ...["docs", "docs/models", "proto", "checkpoints/demo"].flatMap((folder) => markdownIn(folder)),
];

test.each(pages)("every file that %s links to exists", (page) => {
  const text = readFileSync(join(packageRoot, page), "utf8");
  const targets = Array.from(text.matchAll(/\]\(([^)\s]+)\)/g), ([, target]) => target as string)
    .filter((target) => !/^(https?:|#)/.test(target))
    .map((target) => join(dirname(page), target.replace(/#.*/, "")));
  expect(targets.filter((target) => !existsSync(join(packageRoot, target)))).toEqual([]);
});

function markdownIn(folder: string): readonly string[] {
  return readdirSync(join(packageRoot, folder))
    .filter((name) => name.endsWith(".md"))
    .map((name) => join(folder, name));
}
