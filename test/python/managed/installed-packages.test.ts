import { expect, test } from "vitest";
import { parseRecord } from "../../../src/python/managed/installed-packages.ts";

test("a RECORD is read with quoted paths and without byte code", () => {
  const text = [
    "torch/a.py,sha256=x,12",
    '"torch/b,c.py",sha256=y,3',
    "torch/__pycache__/a.pyc,,",
    "torch-1.dist-info/RECORD,,",
  ];
  expect(parseRecord(text.join("\r\n"))).toEqual([
    { path: "torch/a.py", size: 12 },
    { path: "torch/b,c.py", size: 3 },
    { path: "torch-1.dist-info/RECORD", size: undefined },
  ]);
});
