import { getEventListeners } from "node:events";
import { runInNewContext } from "node:vm";
import { afterEach, describe, expect, test, vi } from "vitest";
import { createEngine, GeneratedImage, stubWorker } from "../../src/index.ts";
import { ziparErrorOf } from "../support/errors.ts";

const request = { classLabel: 3, window: 2, seed: 1, image: false } as const;
const tiny = stubWorker({ rows: 2, columns: 2 });
afterEach(() => vi.unstubAllGlobals());

/** A controller as another realm has it: no instance of any class of ours, and without `reason`, `any` and `timeout`. */
function foreignController() {
  return runInNewContext(`
    const listeners = new Set();
    const signal = {
      aborted: false,
      addEventListener(type, listener) { listeners.add(listener); },
      removeEventListener(type, listener) { listeners.delete(listener); },
    };
    ({ signal, count: () => listeners.size, abort(reason) {
      signal.aborted = true;
      signal.reason = reason;
      for (const listener of [...listeners]) listener({ type: "abort" });
    } })`) as { signal: AbortSignal; count(): number; abort(reason: unknown): void };
}

describe("a signal of another realm", () => {
  test("cancels a generation, and its reason becomes the cause", async () => {
    vi.stubGlobal("AbortSignal", undefined);
    const controller = foreignController();
    await using engine = await createEngine({ worker: stubWorker({ rows: 32, columns: 32 }) });
    const generation = engine.generate({ ...request, signal: controller.signal });
    const first = generation[Symbol.asyncIterator]().next();
    await first;
    controller.abort("changed my mind");
    const error = await ziparErrorOf(() => generation);
    expect([error.code, error.cause]).toEqual(["cancelled", "changed my mind"]);
    expect(controller.count()).toBe(0);
  });

  test("cancels a start", async () => {
    const controller = foreignController();
    let opened = false;
    const worker = {
      open: ({ signal }: { signal?: AbortSignal | undefined }) =>
        new Promise<never>((_, reject) => {
          opened = true;
          signal?.addEventListener("abort", () => reject(new Error(`told: ${signal.reason}`)));
        }),
    };
    const start = createEngine({ worker, signal: controller.signal });
    const failure = ziparErrorOf(() => start);
    await expect.poll(() => opened).toBe(true);
    controller.abort("never mind");
    expect((await failure).message).toContain("told: never mind");
    expect(controller.count()).toBe(0);
    const late = await ziparErrorOf(() => createEngine({ worker, signal: controller.signal }));
    expect([late.code, late.cause]).toEqual(["cancelled", "never mind"]);
  });
});

test("what is no signal is refused by name", async () => {
  await using engine = await createEngine({ worker: tiny });
  const signal = new AbortController() as unknown as AbortSignal;
  const error = await ziparErrorOf(() => engine.generate({ ...request, signal }));
  expect([error.code, error.message]).toEqual([
    "invalid-options",
    expect.stringContaining("expected an AbortSignal"),
  ]);
});

test("one signal for many generations keeps one listener while they run, none after, and Node does not warn", async () => {
  const warn = vi.spyOn(process, "emitWarning");
  const { signal } = new AbortController();
  await using engine = await createEngine({ worker: tiny, signal });
  for (let round = 0; round < 20; round++) {
    const running = Array.from({ length: 20 }, () => engine.generate({ ...request, signal }));
    expect(getEventListeners(signal, "abort")).toHaveLength(1);
    await Promise.all(running);
    expect(getEventListeners(signal, "abort")).toEqual([]);
  }
  expect(warn).not.toHaveBeenCalled();
});

test("the stub gives timers their turn, so that a time limit and a cancel button work", async () => {
  await using engine = await createEngine({ worker: stubWorker({ rows: 64, columns: 64 }) });
  const error = await ziparErrorOf(() => engine.generate({ ...request, signal: AbortSignal.timeout(5) }));
  expect([error.code, (error.cause as Error).name]).toEqual(["cancelled", "TimeoutError"]);
  const button = new AbortController();
  setTimeout(() => button.abort(), 5);
  expect((await ziparErrorOf(() => engine.generate({ ...request, signal: button.signal }))).code).toBe(
    "cancelled",
  );
});

test("pixels of another realm are encoded like our own", async () => {
  const data = runInNewContext("Uint8Array.of(255, 0, 0, 0, 255, 0)") as Uint8Array;
  const foreign = await new GeneratedImage({ width: 2, height: 1, data }).encode();
  const own = await new GeneratedImage({ width: 2, height: 1, data: Uint8Array.from(data) }).encode();
  expect(Buffer.compare(foreign, own)).toBe(0);
});
