import { describe, expect, test } from "vitest";
import { listSome } from "../../../src/python/managed/list-some.ts";
import {
  type EnvironmentFacts,
  type EnvironmentMarker,
  environmentState,
  type WantedEnvironment,
} from "../../../src/python/managed/state.ts";

const marker: EnvironmentMarker = {
  runLockHash: "run-1",
  testLockHash: "test-1",
  torchBackend: null,
  interpreter: "python3.12",
  sitePackages: "lib/python3.12/site-packages",
  packageCount: 1,
  byteCount: 1,
  entries: ["torch", "torch-2.13.0.dist-info"],
};
const complete: EnvironmentFacts = {
  exists: true,
  marker,
  interpreter: "python3.12",
  entries: new Set(["torch", "torch-2.13.0.dist-info", "_virtualenv.py"]),
};
const wanted: WantedEnvironment = {
  runLockHash: "run-1",
  testLockHash: "test-1",
  testTools: false,
  torchBackend: undefined,
};

describe("judging a Python environment", () => {
  test("one that matches its lock is complete, with and without test tools", () => {
    expect(environmentState(complete, wanted).kind).toBe("complete");
    expect(environmentState(complete, { ...wanted, testTools: true }).kind).toBe("complete");
  });

  test("one that is not there, or has lost its interpreter, is made anew", () => {
    const absent = { exists: false, marker: undefined, interpreter: undefined, entries: new Set<string>() };
    expect(environmentState(absent, wanted).kind).toBe("unusable");
    expect(environmentState({ ...complete, interpreter: undefined }, wanted).kind).toBe("unusable");
  });

  test("one whose interpreter has become another version is made anew", () => {
    expect(environmentState({ ...complete, interpreter: "python3.13" }, wanted)).toEqual({
      kind: "unusable",
      reason: "it was made for python3.12, which is now python3.13",
    });
  });

  test("one that was killed while being made has no marker and is completed", () => {
    expect(environmentState({ ...complete, marker: undefined }, wanted)).toEqual({
      kind: "incomplete",
      reason: "it was never completed",
    });
  });

  test("another lock is noticed", () => {
    expect(environmentState(complete, { ...wanted, runLockHash: "run-2" }).kind).toBe("incomplete");
  });

  test("the test tools' lock matters only where they are wanted", () => {
    const newer = { ...wanted, testLockHash: "test-2" };
    expect(environmentState(complete, newer).kind).toBe("complete");
    expect(environmentState(complete, { ...newer, testTools: true }).kind).toBe("incomplete");
    const without = { ...complete, marker: { ...marker, testLockHash: null } };
    expect(environmentState(without, { ...wanted, testTools: true })).toMatchObject({
      reason: "it lacks the tools of the test run",
    });
  });

  test("a package whose folder or dist-info was deleted is named", () => {
    expect(environmentState({ ...complete, entries: new Set(["torch-2.13.0.dist-info"]) }, wanted)).toEqual({
      kind: "incomplete",
      reason: "torch is missing in it",
    });
    expect(environmentState({ ...complete, entries: new Set(["torch"]) }, wanted).kind).toBe("incomplete");
  });

  test("a change of UV_TORCH_BACKEND installs again, its absence changes nothing", () => {
    expect(environmentState(complete, { ...wanted, torchBackend: "cpu" })).toMatchObject({
      kind: "incomplete",
      reason: expect.stringContaining("UV_TORCH_BACKEND asks for cpu"),
    });
    const forCpu = { ...complete, marker: { ...marker, torchBackend: "cpu" } };
    expect(environmentState(forCpu, { ...wanted, torchBackend: "cpu" }).kind).toBe("complete");
    expect(environmentState(forCpu, wanted).kind).toBe("complete");
  });
});

test("long lists are cut", () => {
  expect(listSome(["a", "b", "c"])).toBe("a, b, c");
  expect(listSome(["a", "b", "c", "d", "e"])).toBe("a, b, c and 2 more");
});
