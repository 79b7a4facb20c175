import { mkdirSync, mkdtempSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { describe, expect, test } from "vitest";
import {
  cacheDirectory,
  locateEnvironment,
  type Machine,
  packageRoot,
} from "../../src/python/environment-location.ts";
import { parseRecord } from "../../src/python/installed-packages.ts";
import { judgeInterpreter } from "../../src/python/interpreter.ts";

const linux: Machine = { platform: "linux", home: "/home/ada", variables: {} };

describe("where the environment lies", () => {
  test("in a clone, within the clone", () => {
    expect(locateEnvironment(packageRoot, "0".repeat(64), linux)).toBe(
      join(packageRoot, "python-worker", ".venv"),
    );
  });

  test("for an installed package, in the cache, with one place for each lock", () => {
    const installed = mkdtempSync(join(tmpdir(), "zipar-installed-"));
    mkdirSync(join(installed, "dist"));
    try {
      expect(locateEnvironment(installed, "a".repeat(64), linux)).toBe(
        `/home/ada/.cache/zipar/python-${"a".repeat(16)}`,
      );
      expect(locateEnvironment(installed, "b".repeat(64), linux)).not.toBe(
        locateEnvironment(installed, "a".repeat(64), linux),
      );
    } finally {
      rmSync(installed, { recursive: true });
    }
  });

  test("the cache is the platform's own, or XDG_CACHE_HOME's when that is absolute", () => {
    expect(cacheDirectory({ ...linux, variables: { XDG_CACHE_HOME: "/cache" } })).toBe("/cache/zipar");
    expect(cacheDirectory({ ...linux, variables: { XDG_CACHE_HOME: "relative" } })).toBe(
      "/home/ada/.cache/zipar",
    );
    expect(cacheDirectory({ ...linux, platform: "darwin" })).toBe("/home/ada/Library/Caches/zipar");
    const windows: Machine = { ...linux, platform: "win32", variables: { LOCALAPPDATA: "/local" } };
    expect(cacheDirectory(windows)).toBe("/local/zipar/Cache");
  });
});

describe("judging an interpreter", () => {
  const describeSelf = (changed: object) =>
    JSON.stringify({
      path: "/python",
      version: [3, 12, 4],
      implementation: "cpython",
      wide: true,
      ...changed,
    });

  test("64-bit CPython 3.11 to 3.14 serves", () => {
    expect(judgeInterpreter(describeSelf({}))).toEqual({
      interpreter: { path: "/python", version: "3.12.4" },
    });
    expect(judgeInterpreter(describeSelf({ version: [3, 11, 0] }))).toHaveProperty("interpreter");
    expect(judgeInterpreter(describeSelf({ version: [3, 14, 9] }))).toHaveProperty("interpreter");
  });

  test.each([
    [{ version: [3, 10, 13] }, "is 3.10.13, too old"],
    [{ version: [2, 7, 18] }, "is 2.7.18, too old"],
    [{ version: [3, 15, 0] }, "is 3.15.0, newer than PyTorch supports"],
    [{ implementation: "pypy" }, "is pypy, not CPython"],
    [{ wide: false }, "is a 32-bit build"],
  ])("%o is refused: %s", (changed, objection) => {
    expect(judgeInterpreter(describeSelf(changed))).toEqual({ objection });
  });

  test("a stand-in that prints something else is refused", () => {
    expect(judgeInterpreter("pyenv: python3: command not found")).toEqual({ objection: "does not run" });
  });
});

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
