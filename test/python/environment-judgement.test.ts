import { describe, expect, test } from "vitest";
import {
  type EnvironmentFacts,
  type EnvironmentMarker,
  judgeEnvironment,
  listSome,
  type WantedEnvironment,
} from "../../src/python/environment-judgement.ts";

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
    expect(judgeEnvironment(complete, wanted).state).toBe("complete");
    expect(judgeEnvironment(complete, { ...wanted, testTools: true }).state).toBe("complete");
  });

  test("one that is not there, or has lost its interpreter, is made anew", () => {
    const absent = { exists: false, marker: undefined, interpreter: undefined, entries: new Set<string>() };
    expect(judgeEnvironment(absent, wanted).state).toBe("unusable");
    expect(judgeEnvironment({ ...complete, interpreter: undefined }, wanted).state).toBe("unusable");
  });

  test("one whose interpreter has become another version is made anew", () => {
    expect(judgeEnvironment({ ...complete, interpreter: "python3.13" }, wanted)).toEqual({
      state: "unusable",
      reason: "it was made for python3.12, which is now python3.13",
    });
  });

  test("one that was killed while being made has no marker and is completed", () => {
    expect(judgeEnvironment({ ...complete, marker: undefined }, wanted)).toEqual({
      state: "incomplete",
      reason: "it was never completed",
    });
  });

  test("another lock is noticed", () => {
    expect(judgeEnvironment(complete, { ...wanted, runLockHash: "run-2" }).state).toBe("incomplete");
  });

  test("the test tools' lock matters only where they are wanted", () => {
    const newer = { ...wanted, testLockHash: "test-2" };
    expect(judgeEnvironment(complete, newer).state).toBe("complete");
    expect(judgeEnvironment(complete, { ...newer, testTools: true }).state).toBe("incomplete");
    const without = { ...complete, marker: { ...marker, testLockHash: null } };
    expect(judgeEnvironment(without, { ...wanted, testTools: true })).toMatchObject({
      reason: "it lacks the tools of the test run",
    });
  });

  test("a package whose folder or dist-info was deleted is named", () => {
    expect(judgeEnvironment({ ...complete, entries: new Set(["torch-2.13.0.dist-info"]) }, wanted)).toEqual({
      state: "incomplete",
      reason: "torch is missing in it",
    });
    expect(judgeEnvironment({ ...complete, entries: new Set(["torch"]) }, wanted).state).toBe("incomplete");
  });

  test("a change of UV_TORCH_BACKEND installs again, its absence changes nothing", () => {
    expect(judgeEnvironment(complete, { ...wanted, torchBackend: "cpu" })).toMatchObject({
      state: "incomplete",
      reason: expect.stringContaining("UV_TORCH_BACKEND asks for cpu"),
    });
    const forCpu = { ...complete, marker: { ...marker, torchBackend: "cpu" } };
    expect(judgeEnvironment(forCpu, { ...wanted, torchBackend: "cpu" }).state).toBe("complete");
    expect(judgeEnvironment(forCpu, wanted).state).toBe("complete");
  });
});

test("long lists are cut", () => {
  expect(listSome(["a", "b", "c"])).toBe("a, b, c");
  expect(listSome(["a", "b", "c", "d", "e"])).toBe("a, b, c and 2 more");
});
