import { mkdirSync, mkdtempSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import { delimiter, join } from "node:path";
import { describe, expect, test } from "vitest";
import { cacheDirectory, locateEnvironment, type Machine, packageRoot } from "../../src/python/location.ts";

const linux: Machine = { platform: "linux", home: "/home/ada", variables: {} };

describe("where the environment lies", () => {
  test("in a clone, within the clone", () => {
    expect(locateEnvironment(packageRoot, "0".repeat(64), linux)).toBe(
      join(packageRoot, "python-worker", ".venv"),
    );
  });

  test("but not within a clone whose path PATH could not hold", () => {
    const clone = mkdtempSync(join(tmpdir(), `zipar${delimiter}clone-`));
    mkdirSync(join(clone, "src"));
    try {
      expect(locateEnvironment(clone, "a".repeat(64), linux)).toBe(
        `/home/ada/.cache/zipar/python-${"a".repeat(16)}`,
      );
    } finally {
      rmSync(clone, { recursive: true });
    }
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
    expect(cacheDirectory({ ...linux, home: undefined })).toBe(undefined);
    const windows: Machine = { ...linux, platform: "win32", variables: { LOCALAPPDATA: "/local" } };
    expect(cacheDirectory(windows)).toBe("/local/zipar/Cache");
  });
});
