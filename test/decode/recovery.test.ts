import fc from "fast-check";
import { describe, expect, test } from "vitest";
import {
  createEngine,
  type GenerateOptions,
  type GenerationEvent,
  stubWorker,
  ZiparError,
} from "../../src/index.ts";
import { ziparErrorOf } from "../support/errors.ts";
import { runs, triesAllCases } from "../support/property-runs.ts";
import { loss, recordingWorker } from "../support/recording-worker.ts";

const STUB = { rows: 5, columns: 7, reach: 3, codeCount: 50 } as const;
const QUICK = { max: 1000, withinMs: 1e6, backoffMs: 0 };
const WINDOWS: GenerateOptions["window"][] = [
  1,
  3,
  "full",
  "adaptive",
  { kind: "adaptive", min: 1, verification: "sequential" },
  2,
];
const REQUESTS = WINDOWS.map(
  (window, k): GenerateOptions => ({ classLabel: k, window, seed: 100 + k, lookahead: 0 }),
);

describe("an engine that loses its worker", () => {
  test("finishes every image as it would have been, whenever and however often that happens", async () => {
    await using calm = await createEngine({ worker: stubWorker(STUB) });
    const expected = await Promise.all(REQUESTS.map((request) => calm.generate(request)));
    const losses = fc.record({
      /** Requests after which a worker is lost; enough of them for a step, or the same work would cost too many. */
      after: fc
        .tuple(fc.integer({ min: 1, max: 60 }), fc.array(fc.integer({ min: 25, max: 60 }), { maxLength: 5 }))
        .map(([first, others]) => [first, ...others]),
      maxImages: fc.integer({ min: 1, max: 4 }),
    });
    let restartCount = 0;
    await fc.assert(
      fc.asyncProperty(losses, async ({ after: all, maxImages }) => {
        const after = [...all];
        const worker = recordingWorker(STUB);
        let requestCount = 0;
        const losing = () => {
          if (after.length > 0 && ++requestCount === after[0]) worker.lose();
        };
        worker.beforeForward = losing;
        worker.beforeRequest = losing;
        worker.beforeRestart = () => {
          after.shift();
          requestCount = 0;
        };
        await using engine = await createEngine({ worker: worker.source, maxImages, restarts: QUICK });
        const results = await Promise.all(REQUESTS.map((request) => engine.generate(request)));
        for (const [k, result] of results.entries()) {
          const { tokens, stats, image } = expected[k] as (typeof expected)[number];
          expect(result.tokens).toEqual(tokens);
          expect(result.stats.forwards).toBe(stats.forwards);
          // Matchers compare typed arrays value by value, a hundred times as slowly.
          expect(Buffer.compare(result.image.pixels, image.pixels)).toBe(0);
        }
        expect(engine.restartCount).toBe(worker.startCount - 1);
        restartCount += engine.restartCount;
      }),
      { numRuns: runs(60), seed: 4 },
    );
    if (triesAllCases) expect(restartCount).toBeGreaterThan(60);
  });

  test("tells the images that were live, counts it, and does not count rebuilding as their forwards", async () => {
    const worker = recordingWorker(STUB);
    worker.beforeForward = (index) => {
      if (index === 9) worker.lose(loss("struck by lightning"));
    };
    await using engine = await createEngine({ worker: worker.source, restarts: QUICK });
    const generation = engine.generate({ classLabel: 1, window: 2, seed: 3 });
    const events: GenerationEvent[] = [];
    for await (const event of generation) events.push(event);
    const { stats } = await generation;
    expect(stats).toMatchObject({ forwards: 7 + 4 * 2, restarts: 1 });
    const types = events.map(({ type }) => type);
    expect(types.filter((type) => type === "step")).toHaveLength(15);
    expect(types.slice(8, 12)).toEqual(["step", "worker-lost", "worker-restored", "step"]);
    const [lost, restored] = events.slice(9);
    expect(lost?.type === "worker-lost" && lost.reason.message).toBe("struck by lightning");
    const rebuildForwards = restored?.type === "worker-restored" ? restored.rebuildForwards : 0;
    expect(rebuildForwards).toBeGreaterThan(0);
    expect(rebuildForwards).toBeLessThan(9);
    expect(worker.batches).toHaveLength(15 + 1 + rebuildForwards);
    expect(engine.restartCount).toBe(1);
  });

  test("while it is idle starts another one at the next image", async () => {
    const worker = recordingWorker(STUB);
    await using engine = await createEngine({ worker: worker.source, restarts: QUICK });
    const { tokens } = await engine.generate({ classLabel: 1, window: 2, seed: 3 });
    worker.lose();
    expect(worker.startCount).toBe(1);
    const again = await engine.generate({ classLabel: 1, window: 2, seed: 3 });
    expect(again.tokens).toEqual(tokens);
    expect(again.stats.restarts).toBe(0);
    expect(worker.startCount).toBe(2);
  });

  test("asks again for a picture that was on its way, with nothing else to do", async () => {
    const worker = recordingWorker(STUB);
    let pictures = 0;
    worker.beforeRequest = (kind) => {
      if (kind === "picture" && ++pictures === 1) worker.lose();
    };
    await using engine = await createEngine({ worker: worker.source, restarts: QUICK });
    expect((await engine.generate({ classLabel: 1, window: 2 })).image.width).toBe(56);
    expect([pictures, worker.startCount]).toEqual([2, 2]);
  });

  test("lets images wait when the new worker has room for fewer", async () => {
    const worker = recordingWorker(STUB);
    let maxImages = 4;
    const source = {
      open: (options: Parameters<typeof worker.source.open>[0]) =>
        worker.source.open({ ...options, maxImages }),
    };
    worker.beforeForward = (index) => {
      if (index !== 6) return;
      worker.lose();
      maxImages = 1;
    };
    await using engine = await createEngine({ worker: source, restarts: QUICK });
    const requests = REQUESTS.map((request) => ({ ...request, image: false }));
    const results = await Promise.all(requests.map((request) => engine.generate(request)));
    await using calm = await createEngine({ worker: stubWorker(STUB) });
    const expected = await Promise.all(requests.map((request) => calm.generate(request)));
    expect(results.map(({ tokens }) => tokens)).toEqual(expected.map(({ tokens }) => tokens));
    expect(Math.max(...worker.batches.slice(7).map((batch) => batch.length))).toBe(2);
  });

  test("rebuilds in smaller forwards, then for fewer images, where memory does not suffice", async () => {
    const worker = recordingWorker(STUB);
    let isRebuilding = false;
    let refused = 0;
    worker.beforeForward = (index) => {
      if (index === 8) worker.lose();
      if (isRebuilding && (worker.batches[index]?.length ?? 0) > 1 && refused < 40) {
        refused += 1;
        throw new ZiparError({ code: "out-of-memory", message: "no room" });
      }
    };
    worker.beforeRestart = () => {
      isRebuilding = true;
    };
    await using engine = await createEngine({ worker: worker.source, restarts: QUICK });
    const results = await Promise.all(REQUESTS.map((request) => engine.generate(request)));
    await using calm = await createEngine({ worker: stubWorker(STUB) });
    const expected = await Promise.all(REQUESTS.map((request) => calm.generate(request)));
    expect(results.map(({ tokens }) => tokens)).toEqual(expected.map(({ tokens }) => tokens));
    expect(refused).toBeGreaterThan(3);
  });
});

describe("an end to recovering", () => {
  test("a forward that kills every worker fails its image with what was decoded, and the others go on", async () => {
    const worker = recordingWorker(STUB);
    worker.beforeForward = (index) => {
      const isPoisoned = worker.batches[index]?.some((sequence) => worker.classes.get(sequence) === 1);
      if (isPoisoned && index >= 9) worker.lose(loss("poison"));
    };
    await using engine = await createEngine({ worker: worker.source, restarts: QUICK });
    const [bad, good] = await Promise.allSettled(
      [1, 2].map((classLabel) => engine.generate({ classLabel, window: 2, seed: 1 })),
    );
    expect(good?.status).toBe("fulfilled");
    const error = bad?.status === "rejected" ? (bad.reason as ZiparError) : undefined;
    expect(error).toMatchObject({ code: "worker-died", details: { output: "last words" } });
    expect(error?.message).toContain("poison");
    const decoded = error?.details.decoded as number[][];
    expect(decoded.map((row) => row.length)).toEqual([7, 7, 7, 7, 7]);
    expect(decoded[0]).not.toContain(-1);
    expect(decoded[4]?.at(-1)).toBe(-1);
    expect(worker.startCount).toBe(4);
  });

  test("a budget of restarts that is used up fails everything with worker-died and the last output; time gives it back", async () => {
    const worker = recordingWorker(STUB);
    let isDeadly = true;
    worker.beforeRequest = () => {
      if (isDeadly) worker.lose(loss("again"));
    };
    await using engine = await createEngine({
      worker: worker.source,
      restarts: { max: 2, withinMs: 2_000, backoffMs: 1 },
    });
    const error = await ziparErrorOf(() => engine.generate({ classLabel: 1, window: 2 }));
    const spentAt = performance.now();
    expect(error).toMatchObject({ code: "worker-died", details: { output: "last words" } });
    expect(error.message).toMatch(/again/);
    expect(worker.startCount).toBe(3);
    isDeadly = false;
    expect((await ziparErrorOf(() => engine.generate({ classLabel: 1, window: 2 }))).details.restarts).toBe(
      2,
    );
    await new Promise((resolve) => setTimeout(resolve, 2_010 - (performance.now() - spentAt)));
    expect((await engine.generate({ classLabel: 1, window: 2 })).stats.tokens).toBe(35);
  });

  test("waits longer before every further restart", async () => {
    const worker = recordingWorker(STUB);
    const startedAt: number[] = [];
    worker.beforeRestart = () => {
      startedAt.push(performance.now());
      if (startedAt.length < 4) throw loss("not yet");
    };
    worker.beforeForward = (index) => {
      if (index === 3) worker.lose();
    };
    await using engine = await createEngine({
      worker: worker.source,
      restarts: { max: 4, withinMs: 1e6, backoffMs: 40 },
    });
    await engine.generate({ classLabel: 1, window: 2 });
    const waits = startedAt.slice(1).map((at, k) => at - (startedAt[k] as number));
    expect(waits[0]).toBeGreaterThanOrEqual(39);
    expect(waits[1]).toBeGreaterThanOrEqual(79);
    expect(waits[2]).toBeGreaterThanOrEqual(159);
  });

  test.each([
    { code: "checkpoint", message: "the file is gone" },
    { code: "out-of-memory", message: "it was ended by SIGKILL", details: { killedForMemory: true } },
  ] as const)("a start that cannot succeed is not tried again: $code", async (failure) => {
    const worker = recordingWorker(STUB);
    worker.beforeRestart = () => {
      throw new ZiparError(failure);
    };
    worker.beforeForward = (index) => {
      if (index === 3) worker.lose();
    };
    await using engine = await createEngine({ worker: worker.source, restarts: QUICK });
    const error = await ziparErrorOf(() => engine.generate({ classLabel: 1, window: 2 }));
    expect(error.code).toBe(failure.code);
    expect((error.details.decoded as number[][]).flat().filter((token) => token >= 0)).toHaveLength(4);
    expect(worker.startCount).toBe(2);
  });

  test("disposing and cancelling do not wait for a worker that is being started", async () => {
    const worker = recordingWorker(STUB);
    let isStarting = () => {};
    const starting = new Promise<void>((resolve) => {
      isStarting = resolve;
    });
    worker.beforeRestart = (signal) => {
      isStarting();
      return new Promise((_, reject) => {
        signal?.addEventListener("abort", () =>
          reject(new ZiparError({ code: "cancelled", message: "given up" })),
        );
      });
    };
    worker.beforeForward = (index) => {
      if (index === 3) worker.lose();
    };
    const engine = await createEngine({ worker: worker.source, restarts: QUICK });
    const abort = new AbortController();
    const cancelled = ziparErrorOf(() => engine.generate({ classLabel: 1, window: 2, signal: abort.signal }));
    const closed = ziparErrorOf(() => engine.generate({ classLabel: 2, window: 2 }));
    await starting;
    abort.abort();
    expect((await cancelled).code).toBe("cancelled");
    await Promise.all([engine.dispose(), engine.dispose()]);
    expect((await closed).code).toBe("engine-closed");
    expect(worker.stopCount).toBe(2);
  });
});
