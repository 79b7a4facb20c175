import { readdirSync } from "node:fs";
import { join } from "node:path";
import { expect, test } from "vitest";
import { sidebar } from "../../docs/site/.vitepress/sidebar.mts";
import { packageRoot } from "../../src/python/location.ts";

test("the site leads to every page, and to none that is not there", () => {
  const pages = [".", "docs", "docs/models", "proto", "checkpoints/demo"].flatMap((folder) =>
    readdirSync(join(packageRoot, folder))
      .filter((name) => name.endsWith(".md"))
      .map((name) => `/${join(folder, name).slice(0, -".md".length)}`),
  );
  const links = sidebar.flatMap(({ items }) => items ?? []).map(({ link }) => link);
  expect([...links].sort()).toEqual(pages.sort());
});
