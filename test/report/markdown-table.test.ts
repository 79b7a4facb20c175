import { expect, test } from "vitest";
import { markdownTable } from "../../src/report/markdown-table.ts";

test("a table has names to the left, figures to the right, and a rule that says so", () => {
  const rows = [
    ["full", "256", "97.6 %"],
    ["adaptive:2", "76"],
  ];
  expect(markdownTable(["window", "forwards", "accuracy"], rows).split("\n")).toEqual([
    "| window     | forwards | accuracy |",
    "| ---------- | -------: | -------: |",
    "| full       |      256 |   97.6 % |",
    "| adaptive:2 |       76 |          |",
  ]);
});
