import { existsSync, readdirSync, readFileSync } from "node:fs";
import { dirname, join } from "node:path";
import { expect, test } from "vitest";
import { githubSlug } from "../../docs/site/.vitepress/github-slug.mts";
import { packageRoot } from "../../src/python/location.ts";

const pages = [
  ...markdownIn("."),
  ...["docs", "docs/models", "proto", "checkpoints/demo"].flatMap((folder) => markdownIn(folder)),
];

test.each(pages)("every file and every heading that %s links to exists", (page) => {
  const targets = Array.from(read(page).matchAll(/\]\(([^)\s]+)\)/g), ([, target]) => target as string)
    .filter((target) => !/^https?:/.test(target))
    .map((target) => target.split("#"))
    .map(([path = "", heading]) => ({ path: path === "" ? page : join(dirname(page), path), heading }));
  const isThere = ({ path, heading }: (typeof targets)[number]) =>
    existsSync(join(packageRoot, path)) && (heading === undefined || headingsOf(path).includes(heading));
  expect(targets.filter((target) => !isThere(target))).toEqual([]);
});

/** Anchors of a page; a heading that comes again gets a number. */
function headingsOf(page: string): readonly string[] {
  const slugs = Array.from(
    read(page)
      .replace(/^```.*?^```/gms, "")
      .matchAll(/^#+ (.*)$/gm),
    ([, heading]) => githubSlug((heading as string).replace(/\[([^\]]*)\]\([^)]*\)/g, "$1")),
  );
  return slugs.map((slug, k) => {
    const before = slugs.slice(0, k).filter((other) => other === slug).length;
    return before === 0 ? slug : `${slug}-${before}`;
  });
}

function read(page: string): string {
  return readFileSync(join(packageRoot, page), "utf8");
}

function markdownIn(folder: string): readonly string[] {
  return readdirSync(join(packageRoot, folder))
    .filter((name) => name.endsWith(".md"))
    .map((name) => join(folder, name));
}
