import { describe, expect, test } from "vitest";
import { workerDied } from "../../src/worker/death.ts";

const KILLED = "it was ended by SIGKILL";

describe("a worker that was ended by SIGKILL", () => {
  test("while the kernel ended processes for lack of memory says so, and is out of memory", () => {
    const error = workerDied({ reason: KILLED, memoryKills: [2, 3], output: "loading" });
    expect(error.code).toBe("out-of-memory");
    expect(error.message).toMatch(
      /SIGKILL for lack of memory.*take a smaller model; its last output was:\nloading/s,
    );
    expect(error.details).toEqual({ output: "loading", killedForMemory: true });
  });

  test.each([
    [2, 2],
    [undefined, undefined],
    [undefined, 1],
  ])("without such a sign (%s, then %s) says that it may be so", (...memoryKills) => {
    const error = workerDied({ reason: KILLED, memoryKills, output: "" });
    expect(error.code).toBe("worker-died");
    expect(error.message).toContain("SIGKILL, as a system does that runs out of memory");
    expect(error.details.killedForMemory).toBe(false);
  });
});

test("a worker that ended otherwise has nothing to do with a lack of memory elsewhere", () => {
  for (const reason of ["it was ended by SIGSEGV", "it ended with exit code 9"]) {
    const error = workerDied({ reason, memoryKills: [0, 5], output: "" });
    expect(error).toMatchObject({ code: "worker-died", message: `the worker is gone: ${reason}` });
  }
  const missing = workerDied({ reason: "it could not be started: ENOENT", memoryKills: [0, 0], output: "" });
  expect(missing.code).toBe("worker-start");
});
