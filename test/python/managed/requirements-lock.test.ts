import { readFileSync } from "node:fs";
import { describe, expect, test } from "vitest";
import { workerFiles } from "../../../src/python/location.ts";
import { hashLock, parseLock, pinOf, withoutTorch } from "../../../src/python/managed/requirements-lock.ts";

const { runLock, testLock, uvLock } = workerFiles();

describe.each([runLock, testLock, uvLock])("%s", (path) => {
  const text = readFileSync(path, "utf8");

  test("pins every package with hashes", () => {
    const packages = parseLock(text);
    expect(packages.length).toBeGreaterThan(0);
    for (const { name, text: pinned } of packages) {
      expect(pinOf(packages, name)).toMatch(/^[a-z0-9-]+==[\w.]+$/);
      expect(pinned).toContain("--hash=sha256:");
    }
  });

  test("names no index, host or address", () => {
    expect(text).not.toMatch(/:\/\/|--(extra-)?index|--find-links|@ /);
  });
});

test("the run-time lock lies within the lock of the test run, so that one environment serves both", () => {
  const test = new Set(parseLock(readFileSync(testLock, "utf8")).map(({ text }) => text));
  const run = parseLock(readFileSync(runLock, "utf8")).map(({ text }) => text);
  expect(run.filter((text) => !test.has(text))).toEqual([]);
});

test("without torch, what only its CUDA build brings is left out and the rest keeps its hashes", () => {
  const packages = parseLock(readFileSync(runLock, "utf8"));
  const rest = parseLock(withoutTorch(packages));
  const names = rest.map(({ name }) => name);
  expect(names.filter((name) => /torch|triton|nvidia|cuda/.test(name))).toEqual([]);
  expect(names).toEqual(expect.arrayContaining(["pyzmq", "msgspec", "safetensors", "sympy", "filelock"]));
  expect(rest.every(({ text }) => text.includes("--hash=sha256:"))).toBe(true);
  expect(pinOf(packages, "torch")).toMatch(/^torch==\d+\.\d+\.\d+$/);
});

test("a lock has the same hash with either kind of line ends", () => {
  expect(hashLock("a==1\r\nb==2\r\n")).toBe(hashLock("a==1\nb==2\n"));
  expect(hashLock("a==1\n")).not.toBe(hashLock("a==2\n"));
});
