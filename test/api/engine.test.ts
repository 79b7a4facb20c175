import { describe, expect, test } from "vitest";
import {
  createEngine,
  type GenerationEvent,
  plan,
  type StubOptions,
  stubWorker,
  type ZiparError,
} from "../../src/index.ts";
import { ziparErrorOf } from "../support/errors.ts";
import { recordingWorker } from "../support/recording-worker.ts";

const STUB: StubOptions = { rows: 4, columns: 6, codeCount: 50 };
const request = { classLabel: 3, window: 2, seed: 1, lookahead: 0 } as const;
const FORWARDS = 6 + 3 * 2;

async function eventsOf(generation: AsyncIterable<GenerationEvent>): Promise<GenerationEvent[]> {
  const events: GenerationEvent[] = [];
  for await (const event of generation) events.push(event);
  return events;
}

describe("a generation as a promise", () => {
  test("resolves with tokens, picture and figures", async () => {
    await using engine = await createEngine({ worker: stubWorker(STUB) });
    const result = await engine.generate(request);
    expect(result).toMatchObject({ seed: 1, rows: 4, columns: 6, window: { kind: "fixed", size: 2 } });
    expect(result.tokens.map((row) => row.length)).toEqual([6, 6, 6, 6]);
    expect(result.stats).toMatchObject({
      forwards: FORWARDS,
      tokens: 24,
      nextTokenForwards: 24,
      reduction: 1 - FORWARDS / 24,
    });
    expect(result.stats.wallMs).toBeGreaterThan(0);
    expect([result.image.width, result.image.height]).toEqual([48, 32]);
    expect(result.adaptive).toBeUndefined();
  });

  test("reports the adaptive window row by row", async () => {
    await using engine = await createEngine({ worker: stubWorker(STUB) });
    const { adaptive, stats } = await engine.generate({ ...request, window: { kind: "adaptive", min: 1 } });
    expect(adaptive).toMatchObject({ min: 1, verification: "overlapped", test: "rejection" });
    expect(adaptive?.openedAt).toHaveLength(3);
    for (const window of adaptive?.openedAt ?? []) expect(window).toBeGreaterThanOrEqual(1);
    expect(adaptive?.draftCount).toBeGreaterThanOrEqual(adaptive?.rejectedCount ?? Number.NaN);
    expect(stats.forwards).toBeLessThanOrEqual(24);
  });

  test("without a picture says so when the picture is asked for", async () => {
    await using engine = await createEngine({ worker: stubWorker(STUB) });
    const result = await engine.generate({ ...request, image: false });
    expect((await ziparErrorOf(() => result.image)).code).toBe("no-image-decoder");
  });

  test("reports a random seed that gives the same tokens again", async () => {
    await using engine = await createEngine({ worker: stubWorker(STUB) });
    const { seed: _, ...seedless } = request;
    const [first, second] = await Promise.all([engine.generate(seedless), engine.generate(seedless)]);
    expect(first.seed).not.toBe(second.seed);
    expect((await engine.generate({ ...seedless, seed: first.seed })).tokens).toEqual(first.tokens);
  });

  test("gives equal tokens for equal seeds whatever else is in the batch, and others for other seeds", async () => {
    await using engine = await createEngine({ worker: stubWorker(STUB) });
    const alone = await engine.generate({ ...request, image: false });
    const batch = await Promise.all(
      [1, 2, 1, 3].map((seed) =>
        engine.generate({ ...request, seed, window: seed === 1 ? 2 : 5, image: false }),
      ),
    );
    expect(batch[0]?.tokens).toEqual(alone.tokens);
    expect(batch[2]?.tokens).toEqual(alone.tokens);
    expect(batch[1]?.tokens).not.toEqual(alone.tokens);
  });

  test("takes the model's defaults: its window, and its first grid", async () => {
    await using engine = await createEngine({ worker: stubWorker({ rows: 3, columns: 20 }) });
    const result = await engine.generate({ classLabel: 0, image: false });
    expect(result.window).toEqual({ kind: "fixed", size: 8 });
    expect(result.stats.plainForwards).toBe(plan({ rows: 3, columns: 20, window: 8 }).forwards);
  });
});

describe("a generation as a series of events", () => {
  test("tells every forward and its cells in order, and the finished image last", async () => {
    await using engine = await createEngine({ worker: stubWorker(STUB) });
    const events = await eventsOf(engine.generate(request));
    const steps = events.filter((event) => event.type === "step");
    expect(events.map(({ type }) => type)).toEqual([...new Array(FORWARDS).fill("step"), "image"]);
    expect(steps.map(({ forward }) => forward)).toEqual(Array.from({ length: FORWARDS }, (_, k) => k + 1));
    const last = events.at(-1);
    if (last?.type !== "image") return expect.unreachable();
    const cells = steps.flatMap((step) => step.cells);
    expect(cells).toHaveLength(24);
    for (const { row, column, token } of cells) expect(last.result.tokens[row]?.[column]).toBe(token);
    let decodedCount = 0;
    for (const step of steps) {
      decodedCount += step.cells.length;
      expect(step).toMatchObject({ decodedCount, tokenCount: 24 });
    }
  });

  test("tells verdicts on drafts before the forward's step event", async () => {
    await using engine = await createEngine({ worker: stubWorker(STUB) });
    const events = await eventsOf(engine.generate({ ...request, window: { kind: "adaptive", min: 1 } }));
    const drafts = events.filter(({ type }) => type.startsWith("draft-"));
    const image = events.at(-1);
    expect(image?.type === "image" && image.result.adaptive?.draftCount).toBe(drafts.length);
    for (const [k, event] of events.entries()) {
      if (event.type !== "draft-accepted") continue;
      const step = events.slice(k).find(({ type }) => type === "step");
      const cell = expect.objectContaining({ row: event.row, column: 0, token: event.token });
      expect(step?.type === "step" && step.cells).toEqual(expect.arrayContaining([cell]));
    }
  });

  test("gives a late listener at least the image", async () => {
    await using engine = await createEngine({ worker: stubWorker(STUB) });
    const generation = engine.generate(request);
    const result = await generation;
    expect(await eventsOf(generation)).toEqual([{ type: "image", result }]);
  });

  test("runs to its end when nobody listens", async () => {
    const worker = recordingWorker(STUB);
    await using engine = await createEngine({ worker: worker.source });
    engine.generate(request);
    await expect.poll(() => worker.released).toEqual([1]);
  });

  test("serves two listeners", async () => {
    await using engine = await createEngine({ worker: stubWorker(STUB) });
    const generation = engine.generate(request);
    const [first, second] = await Promise.all([eventsOf(generation), eventsOf(generation)]);
    expect(first).toEqual(second);
    expect(first).toHaveLength(FORWARDS + 1);
  });

  test("throws what the generation rejects with", async () => {
    const worker = recordingWorker(STUB);
    worker.beforeForward = (index) => {
      if (index === 3) throw new Error("out of luck");
    };
    await using engine = await createEngine({ worker: worker.source });
    await expect(eventsOf(engine.generate(request))).rejects.toThrow("out of luck");
  });
});

describe("previews", () => {
  test("come as often as asked, show decoded cells as they will be, and the others grey", async () => {
    await using engine = await createEngine({ worker: stubWorker(STUB) });
    const events = await eventsOf(engine.generate({ ...request, partialImages: 3 }));
    const previews = events.filter((event) => event.type === "partial-image");
    const last = events.at(-1);
    if (last?.type !== "image") return expect.unreachable();
    expect(previews.map(({ forward }) => forward)).toEqual([3, 6, 9]);
    const finished = last.result.image;
    for (const { image, decoded, forward } of previews) {
      expect(decoded.reduce((sum, is) => sum + is, 0)).toBe(
        plan({ rows: 4, columns: 6, window: 2 }).steps.filter((step) => step <= forward).length,
      );
      for (let cell = 0; cell < 24; cell++) {
        const x = (cell % 6) * 8 + 3;
        const y = Math.floor(cell / 6) * 8 + 5;
        const at = (y * image.width + x) * 3;
        const expected =
          decoded[cell] === 1 ? finished.pixels.subarray(at, at + 3) : Uint8Array.of(128, 128, 128);
        expect([...image.pixels.subarray(at, at + 3)], `cell ${cell} at forward ${forward}`).toEqual([
          ...expected,
        ]);
      }
    }
  });

  test("more previews than forwards are one per forward", async () => {
    await using engine = await createEngine({ worker: stubWorker({ rows: 2, columns: 2 }) });
    const events = await eventsOf(engine.generate({ ...request, window: 1, partialImages: 64 }));
    expect(events.filter(({ type }) => type === "partial-image").length).toBeLessThanOrEqual(2);
  });
});

describe("cancelling", () => {
  test("before the start rejects and runs nothing", async () => {
    const worker = recordingWorker(STUB);
    await using engine = await createEngine({ worker: worker.source });
    const error = await ziparErrorOf(() =>
      engine.generate({ ...request, signal: AbortSignal.abort("changed my mind") }),
    );
    expect([error.code, error.cause]).toEqual(["cancelled", "changed my mind"]);
    expect(worker.batches).toEqual([]);
  });

  test("in the middle rejects and frees the cache rows at once", async () => {
    const worker = recordingWorker(STUB);
    await using engine = await createEngine({ worker: worker.source, maxImages: 1 });
    const abort = new AbortController();
    worker.beforeForward = (index) => {
      if (index === 4) abort.abort();
    };
    const guided = { ...request, guidanceScale: 2, image: false };
    const cancelled = engine.generate({ ...guided, signal: abort.signal });
    const next = engine.generate(guided); // needs the cache rows of the first
    expect((await ziparErrorOf(() => cancelled)).code).toBe("cancelled");
    expect(worker.released).toEqual([1]);
    expect((await next).stats.forwards).toBe(FORWARDS);
    expect(worker.batches.filter((batch) => batch.includes(1)).length).toBe(5);
  });

  test("a waiting image rejects before the running one has ended", async () => {
    const worker = recordingWorker(STUB);
    await using engine = await createEngine({ worker: worker.source, maxImages: 1 });
    const abort = new AbortController();
    worker.beforeForward = (index) => {
      if (index === 2) abort.abort();
    };
    const guided = { ...request, guidanceScale: 2, image: false };
    const ended: string[] = [];
    const running = engine.generate(guided).then(() => ended.push("running"));
    const waiting = engine
      .generate({ ...guided, signal: abort.signal })
      .catch((error) => ended.push((error as ZiparError).code));
    await Promise.all([running, waiting]);
    expect(ended).toEqual(["cancelled", "running"]);
    expect(worker.prompts).toEqual([1]);
  });

  test("by leaving the iterator frees the sequence", async () => {
    const worker = recordingWorker(STUB);
    await using engine = await createEngine({ worker: worker.source });
    worker.beforeForward = () => new Promise((resolve) => setTimeout(resolve, 2));
    const generation = engine.generate(request);
    for await (const event of generation) {
      if (event.type === "step" && event.forward === 3) break;
    }
    expect((await ziparErrorOf(() => generation)).code).toBe("cancelled");
    expect(worker.released).toEqual([1]);
    expect(worker.batches.length).toBeLessThan(FORWARDS);
  });

  test("after the end changes nothing", async () => {
    await using engine = await createEngine({ worker: stubWorker(STUB) });
    const abort = new AbortController();
    const result = await engine.generate({ ...request, signal: abort.signal });
    abort.abort();
    expect(result.tokens.flat()).toHaveLength(24);
  });
});

describe("disposing", () => {
  test("rejects what runs and what waits with engine-closed, and stops the worker once", async () => {
    const worker = recordingWorker(STUB);
    const engine = await createEngine({ worker: worker.source, maxImages: 1 });
    worker.beforeForward = () => new Promise((resolve) => setTimeout(resolve, 2));
    const guided = { ...request, guidanceScale: 2 };
    const generations = [engine.generate(guided), engine.generate(guided)];
    const outcomes = Promise.allSettled(generations);
    await new Promise((resolve) => setTimeout(resolve, 6));
    await Promise.all([engine.dispose(), engine.dispose()]);
    await engine.dispose();
    for (const outcome of await outcomes) {
      expect(outcome).toMatchObject({ status: "rejected", reason: { code: "engine-closed" } });
    }
    expect(worker.stopCount).toBe(1);
  });

  test("makes later generations reject with engine-closed", async () => {
    const engine = await createEngine({ worker: stubWorker(STUB) });
    await engine.dispose();
    expect((await ziparErrorOf(() => engine.generate(request))).code).toBe("engine-closed");
  });
});

describe("where an engine runs", () => {
  test.each([
    ["mps", "(MPS) is not supported yet"],
    ["mps:0", "(MPS) is not supported yet"],
    ["cuda:0,cuda:1", "`devices` for a worker on each"],
    ["cuda:0 cuda:1", '"cuda:0+cuda:1" for one model over both'],
    ["cuda:0+cuda:0", "2 to 16 different GPUs"],
    ["cuda:0+cpu", '"cuda:0+cuda:1", or over processes on the CPU'],
    ["auto+auto", "2 to 16 different GPUs"],
    ["cuda+cuda", "2 to 16 different GPUs"],
    [new Array(17).fill("cpu").join("+"), "2 to 16 different GPUs"],
    ["gpu", 'expected "auto", "cpu", "cuda" or "cuda:N", N from 0 to 99'],
    ["cuda:", 'expected "auto", "cpu", "cuda" or "cuda:N"'],
    ["cuda:-1", 'expected "auto", "cpu", "cuda" or "cuda:N"'],
    ["cpu\n", 'expected "auto", "cpu", "cuda" or "cuda:N"'],
  ])("is no device %j", async (device, message) => {
    const error = await ziparErrorOf(() => createEngine({ worker: stubWorker(STUB), device }));
    expect(error.code).toBe("invalid-options");
    expect(error.message).toContain(message);
    expect(error.message).toContain(JSON.stringify(device));
  });

  test.each(["many", 0, -2, 1.5, 1025, Number.NaN])("is no number of threads: %s", async (threads) => {
    const error = await ziparErrorOf(() =>
      createEngine({ worker: stubWorker(STUB), threads: threads as number }),
    );
    expect(error.message).toContain('expected "auto" or a whole number from 1 to 1024');
  });
});
