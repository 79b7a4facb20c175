import { afterEach, describe, expect, test } from "vitest";
import {
  createEngine,
  type Engine,
  type EngineOptions,
  type GenerateOptions,
  stubProcess,
} from "../../src/index.ts";
import { ziparErrorOf } from "../support/errors.ts";
import { fakeWorker } from "../support/fake-worker.ts";
import { isAlive, msUntil, socketDirectories } from "../support/processes.ts";

const engines: Engine[] = [];

async function start(options: EngineOptions): Promise<Engine> {
  const engine = await createEngine(options);
  engines.push(engine);
  return engine;
}

afterEach(async () => {
  for (const engine of engines.splice(0)) await engine.dispose();
});

const STUB = { rows: 8, columns: 10, reach: 3, delayMs: 3 } as const;
const WINDOWS: GenerateOptions["window"][] = [2, "full", "adaptive", 5];
const requests = WINDOWS.map((window, k): GenerateOptions => ({ classLabel: k, window, seed: k }));

describe("a worker process that is lost while it decodes", () => {
  test.each(["SIGKILL", "SIGSEGV", "SIGSTOP"] as const)(
    "to %s is noticed within a second and ended, and its images finish as they would have",
    async (signal) => {
      const engine = await start({ worker: stubProcess(STUB) });
      const expected = await Promise.all(requests.map((request) => engine.generate(request)));
      const pid = engine.workerPid as number;
      let struckAt = 0;
      let noticedMs = 0;
      const generations = requests.map((request) => engine.generate(request));
      const watched = generations.map(async (generation) => {
        for await (const event of generation) {
          if (event.type === "step" && event.forward === 7 && struckAt === 0) {
            struckAt = performance.now();
            process.kill(pid, signal);
          }
          if (event.type === "worker-lost" && noticedMs === 0) noticedMs = performance.now() - struckAt;
        }
      });
      await Promise.all(watched);
      const results = await Promise.all(generations);
      expect(results.map(({ tokens }) => tokens)).toEqual(expected.map(({ tokens }) => tokens));
      expect(results.map(({ image }) => image.pixels)).toEqual(expected.map(({ image }) => image.pixels));
      expect(results.map(({ stats }) => stats.restarts)).toEqual([1, 1, 1, 1]);
      expect(noticedMs).toBeGreaterThan(0);
      expect(noticedMs).toBeLessThan(1000);
      expect(isAlive(pid)).toBe(false);
      expect(engine.workerPid).not.toBe(pid);
      expect(engine.restartCount).toBe(1);
    },
  );

  test("and again in the middle of recovering is replaced again", async () => {
    const engine = await start({ worker: stubProcess(STUB), restarts: { backoffMs: 10 } });
    const [expected] = await Promise.all([engine.generate(requests[0])]);
    const generation = engine.generate(requests[0]);
    for await (const event of generation) {
      if (event.type === "step" && [5, 9, 13].includes(event.forward))
        process.kill(engine.workerPid as number, "SIGKILL");
    }
    const { tokens, stats } = await generation;
    expect(tokens).toEqual(expected?.tokens);
    expect(stats.restarts).toBe(3);
  });
});

describe("a worker process that hangs", () => {
  test("is ended after the time it is given, and its image goes on in another one", async () => {
    const engine = await start({
      worker: stubProcess({ ...STUB, delayMs: 1 }),
      hangTimeoutMs: 1000,
      heartbeatTimeoutMs: 0,
    });
    const expected = await engine.generate(requests[0]);
    const pid = engine.workerPid as number;
    const generation = engine.generate(requests[0]);
    let stoppedAt = 0;
    for await (const event of generation) {
      if (event.type === "step" && event.forward === 6) {
        stoppedAt = performance.now();
        process.kill(pid, "SIGSTOP"); // without heartbeats: a process that does nothing
      }
      if (event.type === "worker-lost") {
        expect(event.reason).toMatchObject({ code: "worker-timeout" });
        expect(event.reason.message).toContain("forward");
        expect(performance.now() - stoppedAt).toBeGreaterThan(900);
        expect(performance.now() - stoppedAt).toBeLessThan(2000);
      }
    }
    expect((await generation).tokens).toEqual(expected.tokens);
    expect(isAlive(pid)).toBe(false);
  });

  test("is told from one that is slow at its first forward, and from a program that stands still itself", async () => {
    const engine = await start({
      worker: stubProcess({ rows: 2, columns: 2, delayMs: 700 }),
      hangTimeoutMs: 1500,
    });
    const generation = engine.generate({ classLabel: 1, window: 2, image: false });
    await new Promise((resolve) => setTimeout(resolve, 900));
    const until = performance.now() + 2500;
    while (performance.now() < until); // nothing is read meanwhile
    expect((await generation).stats.restarts).toBe(0);
  });
});

describe("a worker process that is lost for good", () => {
  test("leaves an error with its last output and what was decoded", async () => {
    const engine = await start({ worker: fakeWorker("fatal"), restarts: { backoffMs: 1 } });
    const error = await ziparErrorOf(() => engine.generate({ classLabel: 1, window: 2, image: false }));
    expect(error.code).toBe("worker-died");
    expect(error.message).toContain("a device assert");
    expect(error.details.decoded).toEqual([
      [-1, -1, -1],
      [-1, -1, -1],
      [-1, -1, -1],
    ]);
    expect(error.details.output).toBeTypeOf("string");
  });

  test("while an engine is disposed of in the middle of it leaves no process and no directory", async () => {
    const engine = await start({ worker: stubProcess({ ...STUB, rows: 30 }) });
    const pid = engine.workerPid as number;
    const generation = ziparErrorOf(() => engine.generate(requests[0]));
    await new Promise((resolve) => setTimeout(resolve, 30));
    process.kill(pid, "SIGKILL");
    await msUntil(() => !isAlive(pid), 1000);
    await new Promise((resolve) => setTimeout(resolve, 60));
    const startedAt = performance.now();
    await Promise.all([engine.dispose(), engine.dispose()]);
    expect(performance.now() - startedAt).toBeLessThan(4500);
    expect((await generation).code).toBe("engine-closed");
    expect(isAlive(engine.workerPid as number)).toBe(false);
    expect(socketDirectories().filter((name) => name.includes(`-${process.pid}-`))).toEqual([]);
  });

  test("because it was stopped does not keep dispose waiting", async () => {
    const engine = await start({ worker: stubProcess(STUB) });
    const pid = engine.workerPid as number;
    process.kill(pid, "SIGSTOP");
    const startedAt = performance.now();
    await engine.dispose();
    expect(performance.now() - startedAt).toBeLessThan(3000);
    expect(isAlive(pid)).toBe(false);
  });
});
