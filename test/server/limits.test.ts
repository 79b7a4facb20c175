import { describe, expect, test } from "vitest";
import { boundedBody } from "../../src/server/bounded-body.ts";
import { ImageGate } from "../../src/server/image-gate.ts";
import { ImageStore } from "../../src/server/image-store.ts";
import { nextTurn, refusalOf, stubServer } from "../support/stub-server.ts";

/** Its steps alone are more than what a connection holds for its client. */
const LARGE = { rows: 40, columns: 50, codeCount: 1000 };
const BODY = { prompt: "3", window: "full", lookahead: 0 };

describe("the queue", () => {
  test("takes so many images and refuses more with 429 and the time to wait, never in part", async () => {
    await using stub = await stubServer({ maxQueue: 2 }, { maxImages: 1 });
    let release = () => {};
    stub.worker.beforeForward = () => new Promise((resolve) => (release = resolve));
    const running = [stub.post(BODY), stub.post({ ...BODY, n: 2 })];
    await expect.poll(() => stub.worker.batches.length).toBe(1);
    const refused = await stub.post({ ...BODY, n: 2 });
    expect(Number(refused.headers.get("retry-after"))).toBeGreaterThan(0);
    expect(await refusalOf(refused)).toMatchObject({
      status: 429,
      type: "rate_limit_error",
      code: "queue_full",
    });
    expect(await (await stub.fetch("/metrics")).text()).toContain('zipar_refused_total{model="stub"} 1');
    stub.worker.beforeForward = () => {};
    release();
    for (const reply of await Promise.all(running)) {
      expect(reply.status).toBe(200);
      await reply.arrayBuffer();
    }
    expect((await stub.post(BODY)).status).toBe(200);
  });

  test("keeps the place of an image until its client has it", async () => {
    await using stub = await stubServer({ maxQueue: 0 }, { maxImages: 1 }, {}, LARGE);
    const reply = await stub.post({ ...BODY, window: 1 }, {}, "/zipar/generations");
    await expect.poll(() => stub.worker.released).toEqual([1]);
    expect((await stub.post({ ...BODY, window: 1 })).status).toBe(429);
    await reply.arrayBuffer();
    expect((await stub.post({ ...BODY, window: 1 })).status).toBe(200);
  });

  test("refuses by name more images than ever fit", async () => {
    await using stub = await stubServer({ maxQueue: 1 }, { maxImages: 1 });
    expect(await refusalOf(await stub.post({ ...BODY, n: 3 }))).toMatchObject({ status: 400, param: "n" });
  });

  test("tells to wait about as long as images take", () => {
    const gate = new ImageGate();
    for (let k = 0; k < 50; k++) gate.record(30);
    gate.enter(1, 1, 0);
    expect(() => gate.enter(1, 1, 0)).toThrow(/try again in 30 s/);
  });

  test("lets a place be left twice", () => {
    const gate = new ImageGate();
    const leave = gate.enter(2, 2, 0);
    leave();
    leave();
    expect(gate.imageCount).toBe(0);
  });
});

test("a request that takes too long ends with 504, and its image is cancelled", async () => {
  await using stub = await stubServer({ timeoutMs: 30 });
  stub.worker.beforeForward = () => new Promise((resolve) => setTimeout(resolve, 20));
  const refusal = await refusalOf(await stub.post(BODY));
  expect(refusal).toMatchObject({ status: 504, type: "server_error" });
  expect(refusal.message).toContain("longer than 0.03 s");
  await expect.poll(() => stub.engine.occupancy.liveCount).toBe(0);
});

describe("the body of a reply", () => {
  test("gives all bytes in their order, in pieces, to a client that reads", async () => {
    let isComplete: boolean | undefined;
    const body = boundedBody(60_000, (is) => (isComplete = is));
    const bytes = Uint8Array.from({ length: 300_000 }, (_, k) => k % 251);
    body.send(bytes.subarray(0, 200_000));
    body.send(bytes.subarray(200_000));
    body.end();
    expect(isComplete).toBeUndefined();
    expect(Buffer.from(await new Response(body.stream).arrayBuffer()).equals(bytes)).toBe(true);
    expect(isComplete).toBe(true);
  });

  test("lets go of what a client does not take, and tells that it is gone", async () => {
    let isComplete: boolean | undefined;
    const body = boundedBody(10, (is) => (isComplete = is));
    body.send(new Uint8Array(1_000_000));
    expect(body.pendingBytes).toBeGreaterThan(800_000);
    await expect.poll(() => isComplete).toBe(false);
    expect(body.pendingBytes).toBe(0);
    await expect(new Response(body.stream).arrayBuffer()).rejects.toThrow();
    body.send(new Uint8Array(1_000_000));
    expect(body.pendingBytes).toBe(0);
  });

  test("cuts an image's stream off at a slow client, which frees its place", async () => {
    await using stub = await stubServer({ deliveryTimeoutMs: 10, maxQueue: 0 }, { maxImages: 1 }, {}, LARGE);
    const reply = await stub.post({ ...BODY, window: 1 }, {}, "/zipar/generations");
    await expect
      .poll(async () => {
        const response = await stub.post({ ...BODY, window: 1 });
        await response.body?.cancel();
        return response.status;
      })
      .toBe(200);
    await expect(reply.arrayBuffer()).rejects.toThrow(/took nothing/);
  });
});

describe("pictures that wait for their URL", () => {
  const image = (byteCount: number) => ({ format: "png" as const, data: Buffer.alloc(byteCount) });

  test("are kept for their time", () => {
    const store = new ImageStore({ maxBytes: 100, lifetimeMs: 1000 });
    const name = store.add(image(10), 0);
    expect(name).toMatch(/^[\w-]{24}\.png$/);
    expect(store.get(name, 999)).toBeDefined();
    expect(store.get(name, 1000)).toBeUndefined();
    expect(store.byteCount).toBe(0);
  });

  test("make room for newer ones, the oldest first", () => {
    const store = new ImageStore({ maxBytes: 25, lifetimeMs: 1000 });
    const names = [0, 1, 2].map((now) => store.add(image(10), now));
    expect(names.map((name) => store.get(name, 3) !== undefined)).toEqual([false, true, true]);
    expect(store.byteCount).toBe(20);
  });

  test("that are larger than the store are not kept", () => {
    const store = new ImageStore({ maxBytes: 5, lifetimeMs: 1000 });
    expect(store.get(store.add(image(10), 0), 0)).toBeUndefined();
  });
});

describe("a server that stops", () => {
  test("lets running images finish and takes no others", async () => {
    await using stub = await stubServer();
    const running = stub.post(BODY);
    while (stub.worker.batches.length < 2) await nextTurn();
    const stopping = stub.server.stop({ deadlineMs: 60_000 });
    const readiness = await stub.fetch("/readyz");
    expect([readiness.status, await readiness.json()]).toMatchObject([503, { status: "stopping" }]);
    expect(await refusalOf(await stub.post(BODY))).toMatchObject({ status: 503, code: "engine_closed" });
    const reply = await running;
    expect(reply.status).toBe(200);
    await reply.arrayBuffer();
    await stopping;
  });

  test("cancels what is not finished by its deadline", async () => {
    await using stub = await stubServer();
    stub.worker.beforeForward = () => new Promise((resolve) => setTimeout(resolve, 5));
    const running = stub.post(BODY);
    while (stub.worker.batches.length < 2) await nextTurn();
    await stub.server.stop({ deadlineMs: 1 });
    expect(await refusalOf(await running)).toMatchObject({ status: 503 });
    await expect.poll(() => stub.engine.occupancy.liveCount).toBe(0);
  });
});
