import { afterEach, describe, expect, test } from "vitest";
import {
  createEngine,
  type Engine,
  type EngineOptions,
  stubProcess,
  type ZiparError,
} from "../../src/index.ts";
import { ziparErrorOf } from "../support/errors.ts";
import { fakeWorker } from "../support/fake-worker.ts";
import { isAlive, msUntil } from "../support/processes.ts";

const engines: Engine[] = [];

/** An engine that replaces no worker: what a loss looks like. */
async function start(options: EngineOptions): Promise<Engine> {
  const engine = await createEngine({ restarts: { max: 0 }, ...options });
  engines.push(engine);
  return engine;
}

afterEach(async () => {
  for (const engine of engines.splice(0)) await engine.dispose();
});

const REQUEST = { classLabel: 1, window: 2, image: false } as const;

async function failureOf(engine: Engine): Promise<ZiparError> {
  return ziparErrorOf(() => engine.generate(REQUEST));
}

describe("a worker that is killed and not replaced", () => {
  test("while it decodes makes generations reject with worker-died within a second, and later ones at once", async () => {
    const engine = await start({ worker: stubProcess({ rows: 50, columns: 50, delayMs: 5 }) });
    const pid = engine.workerPid as number;
    let killedAt = 0;
    const outcomes = [1, 2].map(async (seed) => {
      const error = await ziparErrorOf(async () => {
        for await (const event of engine.generate({ ...REQUEST, seed })) {
          if (event.type === "step" && event.forward === 5 && killedAt === 0) {
            process.kill(pid, "SIGKILL");
            killedAt = performance.now();
          }
        }
      });
      return { error, ms: performance.now() - killedAt };
    });
    for (const { error, ms } of await Promise.all(outcomes)) {
      expect(error.code).toBe("worker-died");
      expect(error.message).toContain("SIGKILL");
      const decoded = error.details.decoded as number[][];
      expect(decoded).toHaveLength(50);
      expect(decoded.flat().filter((token) => token >= 0).length).toBeGreaterThanOrEqual(5);
      expect(decoded.at(-1)).toEqual(new Array(50).fill(-1));
      expect(ms).toBeLessThan(1000);
    }
    const start_ = performance.now();
    const later = await failureOf(engine);
    expect(later.code).toBe("worker-died");
    expect(performance.now() - start_).toBeLessThan(200);
    expect(isAlive(pid)).toBe(false);
  });

  test("while it is idle makes the next generation reject with worker-died", async () => {
    const engine = await start({ worker: stubProcess({ rows: 3, columns: 3 }) });
    await engine.generate(REQUEST);
    const pid = engine.workerPid as number;
    process.kill(pid, "SIGKILL");
    await msUntil(() => !isAlive(pid), 1000);
    expect((await failureOf(engine)).code).toBe("worker-died");
  });

  test("can be disposed of", async () => {
    const engine = await createEngine({ worker: stubProcess({ rows: 3, columns: 3 }) });
    process.kill(engine.workerPid as number, "SIGKILL");
    await Promise.all([engine.dispose(), engine.dispose()]);
    await engine.dispose();
    expect((await failureOf(engine)).code).toBe("engine-closed");
  });
});

describe("a worker that does not come up", () => {
  test("because it exits tells its exit code and its last lines", async () => {
    const error = await ziparErrorOf(() => start({ worker: fakeWorker("exit-at-once") }));
    expect(error.code).toBe("worker-died");
    expect(error.message).toContain("exit code 3");
    expect(error.message).toContain("cannot find my glasses");
    expect(error.message).not.toContain("line 10 of");
    expect(error.details.output).toContain("line 10 of a long story");
  });

  test("because it dies while it loads tells so", async () => {
    const error = await ziparErrorOf(() => start({ worker: fakeWorker("exit-in-init") }));
    expect(error.code).toBe("worker-died");
    expect(error.message).toMatch(/exit code 9[\s\S]*ate my homework/);
  });

  test("because it speaks another version of the protocol names both", async () => {
    const error = await ziparErrorOf(() => start({ worker: fakeWorker("other-version") }));
    expect(error.code).toBe("protocol-version");
    expect(error.message).toContain("99");
    expect(error.message).toContain("0.0.0-fake");
  });

  test("because it has the wrong token is a stranger, and the start times out", async () => {
    const error = await ziparErrorOf(() =>
      start({ worker: fakeWorker("wrong-token"), startTimeoutMs: 1500 }),
    );
    expect(error.code).toBe("worker-timeout");
  });

  test("because it says nothing times out, and is ended", async () => {
    const startedAt = performance.now();
    const error = await ziparErrorOf(() => start({ worker: fakeWorker("silent"), startTimeoutMs: 300 }));
    expect(error.code).toBe("worker-timeout");
    expect(error.message).toContain("300 ms");
    expect(performance.now() - startedAt).toBeLessThan(3000);
  });

  test("because its first message is garbage breaks the protocol", async () => {
    const error = await ziparErrorOf(() => start({ worker: fakeWorker("garbage-hello") }));
    expect(error.code).toBe("protocol");
  });

  test("because the caller gave up, before the hello or while it loads, is cancelled", async () => {
    for (const behaviour of ["silent", "never-ready"]) {
      const signal = AbortSignal.timeout(400);
      const startedAt = performance.now();
      const error = await ziparErrorOf(() => start({ worker: fakeWorker(behaviour), signal }));
      expect(error.code).toBe("cancelled");
      expect(performance.now() - startedAt).toBeLessThan(3000);
    }
    const error = await ziparErrorOf(() =>
      start({ worker: fakeWorker("silent"), signal: AbortSignal.abort("no") }),
    );
    expect([error.code, error.cause]).toEqual(["cancelled", "no"]);
  });
});

describe("a worker that breaks the protocol in a forward", () => {
  test.each([
    ["garbage-reply", "msgpack"],
    ["wrong-reply", '"done" where "forward-done" was expected'],
    ["answer-to-nobody", "1000000"],
    ["too-few-draws", "draws"],
    ["token-out-of-range", "1000000"],
    ["negative-token", "-1"],
  ])("%s: the generation rejects with protocol", async (behaviour, said) => {
    const engine = await start({ worker: fakeWorker(behaviour) });
    const error = await failureOf(engine);
    expect(error.code).toBe("protocol");
    expect(error.message).toContain(said);
    expect((await failureOf(engine)).code).toBe("protocol");
  });
});

describe("a worker that fails", () => {
  test("in one request makes that generation reject with its code and details, and goes on", async () => {
    const engine = await start({ worker: fakeWorker("refusal") });
    for (let k = 0; k < 2; k++) {
      const error = await failureOf(engine);
      expect(error).toMatchObject({ code: "out-of-memory", details: { freeBytes: 12 } });
      expect(error.message).toContain("no room");
    }
  });

  test("for good makes generations reject with what it said, the traceback as the cause", async () => {
    const engine = await start({ worker: fakeWorker("fatal") });
    const error = await failureOf(engine);
    expect(error).toMatchObject({ code: "internal", details: { step: 1 } });
    expect(error.message).toContain("a device assert");
    expect(String((error.cause as Error).message)).toContain("Traceback: here");
    expect((await failureOf(engine)).code).toBe("internal");
  });
});

describe("messages that are not meant for this engine", () => {
  test.each(["stale-replies", "second-hello"])("%s change nothing", async (behaviour) => {
    const engine = await start({ worker: fakeWorker(behaviour) });
    const { tokens } = await engine.generate(REQUEST);
    expect(tokens.flat()).toEqual(new Array(9).fill(1));
  });
});

describe("a worker that prints a lot", () => {
  test("100,000 lines neither break it nor fill memory: the tail is bounded, and says what was dropped", async () => {
    const lines: string[] = [];
    const logger = { debug: (line: string) => lines.push(line), info() {}, warn() {} };
    const engine = await start({ worker: fakeWorker("chatty"), logger });
    await engine.generate(REQUEST);
    await expect.poll(() => lines.length).toBe(100_000);
    process.kill(engine.workerPid as number, "SIGKILL");
    await msUntil(() => !isAlive(engine.workerPid as number), 1000);
    const error = await failureOf(engine);
    const output = error.details.output as string;
    expect(output.split("\n").length).toBeLessThanOrEqual(201);
    expect(output).toContain("chatter 99999");
    expect(output).toContain("earlier lines dropped");
    expect(error.message.split("\n").length).toBeLessThan(20);
  });

  test("ten million characters without a line break neither", async () => {
    const engine = await start({ worker: fakeWorker("endless-line") });
    await engine.generate(REQUEST);
    process.kill(engine.workerPid as number, "SIGKILL");
    await msUntil(() => !isAlive(engine.workerPid as number), 1000);
    expect(((await failureOf(engine)).details.output as string).length).toBeLessThan(3000);
  });
});

describe("disposing", () => {
  test("of a busy worker rejects its generations with engine-closed and ends the process", async () => {
    const engine = await start({ worker: stubProcess({ rows: 50, columns: 50, delayMs: 5 }) });
    const pid = engine.workerPid as number;
    const generation = failureOf(engine);
    await new Promise((resolve) => setTimeout(resolve, 50));
    await Promise.all([engine.dispose(), engine.dispose()]);
    expect((await generation).code).toBe("engine-closed");
    expect(isAlive(pid)).toBe(false);
  });

  test("of a worker that hangs ends it all the same", async () => {
    for (const behaviour of ["hang", "deaf-to-shutdown"]) {
      const engine = await start({ worker: fakeWorker(behaviour) });
      const pid = engine.workerPid as number;
      const generation = behaviour === "hang" ? failureOf(engine) : undefined;
      await new Promise((resolve) => setTimeout(resolve, 50));
      const startedAt = performance.now();
      await engine.dispose();
      expect(performance.now() - startedAt).toBeLessThan(6000);
      if (generation !== undefined) expect((await generation).code).toBe("engine-closed");
      expect(isAlive(pid)).toBe(false);
    }
  });
});
