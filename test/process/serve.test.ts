import { mkdtempSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import sharp from "sharp";
import { afterAll, beforeAll, expect, test } from "vitest";
import { buildIfStale } from "../support/build.ts";
import { jsonPost } from "../support/json-post.ts";
import { leavingClients } from "../support/leaving-clients.ts";
import { childrenOf, isAlive } from "../support/processes.ts";
import { readMetric, serveCommand } from "../support/serve-command.ts";
import { allEventsOf, eventsOf, refusalOf } from "../support/stub-server.ts";

/** Tests of one server, in this order: the last one stops it. */
let command: Awaited<ReturnType<typeof serveCommand>>["command"];
let temporary: string;
let address: string;

const SLOW = { prompt: "cat", seed: 1, window: "full", lookahead: 0 };
const headers = { authorization: "Bearer a-key" };

beforeAll(async () => {
  await buildIfStale();
  temporary = mkdtempSync(join(tmpdir(), "zipar-test-serve-"));
  const key = join(temporary, "key");
  writeFileSync(key, "a-key\n", { mode: 0o600 });
  const options = ["--model", "demo", "--device", "cpu", "--api-key-file", key];
  const limits = ["--max-images", "2", "--max-queue", "2", "--stop-deadline", "120"];
  ({ command, address } = await serveCommand([...options, ...limits]));
});
afterAll(() => {
  command.kill("SIGKILL"); // does nothing to one that has ended
  rmSync(temporary, { recursive: true });
});

function post(body: unknown, init?: RequestInit, path = "/v1/images/generations"): Promise<Response> {
  return fetch(address + path, jsonPost(body, { headers, ...init }));
}

const metric = (name: string) => readMetric(address, name, headers);
const cancelledCount = () => metric('zipar_images_total{model="demo",outcome="cancelled"}');

async function pictureOf(base64: string) {
  const picture = sharp(Buffer.from(base64, "base64"));
  return { ...(await picture.metadata()), pixels: await picture.raw().toBuffer() };
}

test("is not ready before its model is loaded", async () => {
  const early = await fetch(`${address}/readyz`);
  expect([early.status, await early.json()]).toMatchObject([
    503,
    { status: "loading", models: [{ name: "demo" }] },
  ]);
  expect((await fetch(`${address}/healthz`)).status).toBe(200);
  await expect.poll(async () => (await fetch(`${address}/readyz`)).status, { timeout: 120_000 }).toBe(200);
});

test("makes a picture, for those who have the key, of a body in one piece or in several", async () => {
  expect((await post({ prompt: "cat" }, { headers: {} })).status).toBe(401);
  const body = { prompt: "cat", seed: 7, response_format: "b64_json" };
  const whole = (await (await post(body)).json()) as { data: [{ b64_json: string }] };
  const { format, width, height, pixels } = await pictureOf(whole.data[0].b64_json);
  expect([format, width, height]).toEqual(["png", 128, 128]);
  expect(new Set(pixels).size).toBeGreaterThan(50);
  const chunked = { body: new Blob([JSON.stringify(body)]).stream(), duplex: "half" } as RequestInit;
  const parts = (await (await post(undefined, chunked)).json()) as typeof whole;
  expect(parts.data[0].b64_json).toBe(whole.data[0].b64_json);
});

test("hands a picture out by its URL", async () => {
  const body = { prompt: "cat", seed: 7, response_format: "url" };
  const { data } = (await (await post(body)).json()) as { data: [{ url: string }] };
  const picture = await fetch(data[0].url);
  expect(picture.headers.get("content-type")).toBe("image/png");
  expect((await sharp(await picture.arrayBuffer()).metadata()).width).toBe(128);
});

test("streams previews that are grey where nothing is decoded, then the picture", async () => {
  const events = await allEventsOf(
    await post({ prompt: "lighthouse", seed: 7, window: 4, stream: true, partial_images: 3 }),
  );
  expect(events.map(({ event }) => event)).toEqual([
    ...new Array(3).fill("image_generation.partial_image"),
    "image_generation.completed",
  ]);
  const greys: number[] = [];
  for (const { data } of events) {
    const { pixels } = await pictureOf(data.b64_json);
    greys.push(pixels.filter((_, k) => k % 3 === 0 && pixels.readUIntBE(k, 3) === 0x80_80_80).length);
  }
  const [first, second, third, last] = greys as [number, number, number, number];
  expect(first).toBeGreaterThan(second);
  expect(second).toBeGreaterThan(third);
  expect(third).toBeGreaterThan(1000);
  expect(last).toBeLessThan(100);
});

test("frees everything of a client that hangs up on its stream", async () => {
  const before = await cancelledCount();
  const leaving = new AbortController();
  const response = await post(SLOW, { signal: leaving.signal }, "/zipar/generations");
  for await (const { event } of eventsOf(response)) if (event === "step") break; // it is decoded
  await expect.poll(cancelledCount).toBe(before + 1);
  await expectIdle();
});

test("refuses with 429 what does not fit, and cancels the pictures of a client that hangs up before any reply", async () => {
  const before = await cancelledCount();
  const leaving = new AbortController();
  const filling = post({ ...SLOW, n: 4 }, { signal: leaving.signal }).catch((error: Error) => error.name);
  await expect.poll(() => metric('zipar_images{model="demo",state="decoding"}')).toBe(2);
  const refused = await post({ prompt: "cat" });
  expect(Number(refused.headers.get("retry-after"))).toBeGreaterThan(0);
  expect(await refusalOf(refused)).toMatchObject({ status: 429, code: "queue_full" });
  leaving.abort();
  expect(await filling).toBe("AbortError");
  await expect.poll(cancelledCount).toBe(before + 4);
  await expectIdle();
});

test("loses no slot to clients that come and hang up at random", async () => {
  const clients = { count: 40, comeWithinMs: 2000, leaveWithinMs: 800, seed: 1, headers };
  const { left, served, refused } = await leavingClients(address, clients);
  expect(left + served + refused).toBe(40);
  expect(left).toBeGreaterThan(0);
  await expectIdle();
  expect((await post({ prompt: "cat", n: 4 })).status).toBe(200);
});

test("on SIGTERM lets a running picture finish, takes no other, leaves no worker and exits with 143", async () => {
  const [worker] = childrenOf(command.pid as number) as [number];
  const running = post({ ...SLOW, stream: true });
  await expect.poll(() => metric('zipar_images{model="demo",state="decoding"}')).toBe(1);
  command.kill("SIGTERM");
  const events = await allEventsOf(await running);
  expect(events.map(({ event }) => event)).toEqual(["image_generation.completed"]);
  const { exitCode, stdout, stderr } = await command;
  expect(exitCode).toBe(143);
  expect(stderr).toContain("SIGTERM");
  expect(isAlive(worker)).toBe(false);
  for (const line of stdout.split("\n")) expect(JSON.parse(line)).toHaveProperty("event");
  await expect(fetch(`${address}/healthz`)).rejects.toThrow();
});

/** Nothing is decoded, nothing waits, and the whole K/V cache is free. */
async function expectIdle(): Promise<void> {
  await expect.poll(() => metric('zipar_images{model="demo",state="requested"}')).toBe(0);
  expect(await metric('zipar_images{model="demo",state="decoding"}')).toBe(0);
  expect(await metric('zipar_cache_rows_free{model="demo"}')).toBe(
    await metric('zipar_cache_rows{model="demo"}'),
  );
  const forwards = await metric('zipar_worker_forwards{model="demo"}');
  await new Promise((resolve) => setTimeout(resolve, 100));
  expect(await metric('zipar_worker_forwards{model="demo"}')).toBe(forwards);
}
