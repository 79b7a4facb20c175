import { describe, expect, test } from "vitest";
import { createEngine, stubWorker } from "../../src/index.ts";
import { ziparErrorOf } from "../support/errors.ts";
import { loss, recordingWorker } from "../support/recording-worker.ts";

const STUB = { rows: 4, columns: 6, codeCount: 50 } as const;
const request = { classLabel: 3, window: 2, seed: 1, image: false } as const;
const prompt = {
  cacheRows: [0, 1],
  rows: 4,
  columns: 6,
  conditioning: { type: "class", classIndex: 3 },
} as const;

describe("work on an idle worker", () => {
  test("starts when all images are done, and those that are asked for meanwhile wait for its end", async () => {
    const worker = recordingWorker(STUB);
    await using engine = await createEngine({ worker: worker.source, maxImages: 1 });
    const order: string[] = [];
    const generate = (name: string) =>
      engine.generate({ ...request, guidanceScale: 2 }).then(() => order.push(name));
    const first = generate("live");
    const second = generate("queued");
    let third: Promise<unknown> | undefined;
    const result = await engine.whenIdle(async () => {
      order.push("work starts");
      third = generate("later");
      const forwardCount = worker.batches.length;
      await new Promise((resolve) => setTimeout(resolve, 5));
      expect(worker.batches.length).toBe(forwardCount);
      order.push("work ends");
      return 42;
    });
    expect(result).toBe(42);
    await Promise.all([first, second, third]);
    expect(order).toEqual(["live", "queued", "work starts", "work ends", "later"]);
  });

  test("gets sequence ids that no image had or will have", async () => {
    const worker = recordingWorker(STUB);
    await using engine = await createEngine({ worker: worker.source });
    await engine.generate(request);
    const own = await engine.whenIdle(async (_, newSequence) => [newSequence(), newSequence()]);
    await engine.generate(request);
    expect(new Set([...own, ...worker.prompts]).size).toBe(4);
  });

  test("of several callers runs in order, one at a time", async () => {
    await using engine = await createEngine({ worker: stubWorker(STUB) });
    let isBusy = false;
    const order: number[] = [];
    const work = (k: number) =>
      engine.whenIdle(async () => {
        expect(isBusy).toBe(false);
        isBusy = true;
        await new Promise(setImmediate);
        isBusy = false;
        order.push(k);
      });
    await Promise.all([work(1), work(2), work(3)]);
    expect(order).toEqual([1, 2, 3]);
  });

  test("that fails rejects with its own error and costs the images nothing", async () => {
    await using engine = await createEngine({ worker: stubWorker(STUB) });
    const work = engine.whenIdle(() => {
      throw new Error("out of luck"); // at once, without a promise
    });
    await expect(work).rejects.toThrow("out of luck");
    expect((await engine.generate(request)).stats.tokens).toBe(24);
  });

  test("rejects when the worker is lost under it; what waits for its end has another worker", async () => {
    const worker = recordingWorker(STUB);
    await using engine = await createEngine({ worker: worker.source });
    let image: Promise<unknown> | undefined;
    const work = engine.whenIdle((idle, newSequence) => {
      image = engine.generate(request).then(({ stats }) => stats.tokens);
      worker.lose(loss("struck by lightning"));
      return idle.encodePrompt({ ...prompt, sequence: newSequence() });
    });
    expect((await ziparErrorOf(() => work)).message).toBe("struck by lightning");
    expect(await image).toBe(24);
    expect(worker.startCount).toBe(2);
  });

  test("does not keep an image from being cancelled that waits for its end", async () => {
    await using engine = await createEngine({ worker: stubWorker(STUB) });
    await engine.whenIdle(async () => {
      const abort = new AbortController();
      const cancelled = ziparErrorOf(() => engine.generate({ ...request, signal: abort.signal }));
      abort.abort();
      expect((await cancelled).code).toBe("cancelled");
    });
  });

  test("gets another worker in the place of one that was lost before", async () => {
    const worker = recordingWorker(STUB);
    await using engine = await createEngine({ worker: worker.source });
    worker.lose();
    const work = engine.whenIdle((idle, newSequence) =>
      idle.encodePrompt({ ...prompt, sequence: newSequence() }),
    );
    expect(await work).toEqual({ promptLength: 1 });
    expect(worker.startCount).toBe(2);
  });

  test("rejects with engine-closed when the engine is disposed of, whether it runs, waits or comes later", async () => {
    const engine = await createEngine({ worker: stubWorker(STUB) });
    const running = engine.whenIdle(() => new Promise(() => {}));
    const waiting = engine.whenIdle(async () => expect.unreachable());
    const outcomes = Promise.allSettled([running, waiting]);
    await new Promise(setImmediate);
    await engine.dispose();
    for (const outcome of await outcomes)
      expect(outcome).toMatchObject({ status: "rejected", reason: { code: "engine-closed" } });
    expect((await ziparErrorOf(() => engine.whenIdle(async () => 1))).code).toBe("engine-closed");
  });
});
