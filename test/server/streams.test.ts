import sharp from "sharp";
import { describe, expect, test } from "vitest";
import { parseTrace } from "../../src/index.ts";
import { traceEvents } from "../../src/server/index.ts";
import { jsonPost } from "../support/json-post.ts";
import { allEventsOf, eventsOf, nextTurn, refusalOf, stubServer } from "../support/stub-server.ts";

const BODY = { prompt: "3", seed: 5, window: 2, lookahead: 0, stream: true };
const FORWARDS = 6 + 3 * 2;
const OWN = "/zipar/generations";

function pixelsOf(base64: string): Promise<Buffer> {
  return sharp(Buffer.from(base64, "base64")).raw().toBuffer();
}

describe("OpenAI's stream", () => {
  test("has previews that show what is decoded and are grey elsewhere, then the image", async () => {
    await using stub = await stubServer();
    const response = await stub.post({ ...BODY, partial_images: 3 });
    expect(response.headers.get("content-type")).toBe("text/event-stream; charset=utf-8");
    const events = await allEventsOf(response);
    expect(events.map(({ event }) => event)).toEqual([
      ...new Array(3).fill("image_generation.partial_image"),
      "image_generation.completed",
    ]);
    const fields = {
      background: "opaque",
      created_at: expect.any(Number),
      output_format: "png",
      quality: "auto",
      size: "48x32",
    };
    for (const { event, data } of events) expect(data).toMatchObject({ ...fields, type: event });
    const previews = events.slice(0, 3).map(({ data }) => data);
    expect(previews.map(({ partial_image_index }) => partial_image_index)).toEqual([0, 1, 2]);
    const completed = events[3]?.data;
    expect(completed.usage).toMatchObject({ input_tokens: 1, output_tokens: 24, total_tokens: 25 });
    expect(completed.zipar).toMatchObject({ seed: 5, forwards: FORWARDS });

    const finished = await pixelsOf(completed.b64_json);
    expect([...finished]).toEqual([
      ...(await stub.engine.generate({ classLabel: 3, seed: 5, window: 2 })).image.pixels,
    ]);
    let shown = 0;
    for (const { b64_json } of previews) {
      const preview = await pixelsOf(b64_json);
      const isDecoded = (pixel: number) =>
        preview.subarray(pixel * 3, pixel * 3 + 3).equals(finished.subarray(pixel * 3, pixel * 3 + 3));
      const decoded = Array.from({ length: 48 * 32 }, (_, pixel) => isDecoded(pixel));
      for (const [pixel, is] of decoded.entries())
        if (!is) expect([...preview.subarray(pixel * 3, pixel * 3 + 3)]).toEqual([128, 128, 128]);
      const count = decoded.filter(Boolean).length;
      expect(count).toBeGreaterThan(shown);
      expect(count).toBeLessThan(48 * 32);
      shown = count;
    }
  });

  test("refuses before it begins, with a status", async () => {
    await using stub = await stubServer();
    expect(await refusalOf(await stub.post({ ...BODY, prompt: "lighthouse" }))).toMatchObject({
      status: 400,
    });
    expect(stub.engine.occupancy.waitingCount).toBe(0);
    expect(await (await stub.fetch("/metrics")).text()).toContain(
      'zipar_images{model="stub",state="requested"} 0',
    );
  });

  test("ends with the error when the image fails on its way", async () => {
    await using stub = await stubServer();
    stub.worker.beforeForward = (index) => {
      if (index === 4) throw new Error("/home/secret is gone");
    };
    const [failed] = (await allEventsOf(await stub.post(BODY))).slice(-1);
    expect(failed).toMatchObject({
      event: "error",
      data: { type: "error", error: { type: "server_error" } },
    });
    expect(JSON.stringify(failed)).not.toContain("secret");
  });
});

describe("a client that hangs up", () => {
  test.each(["/v1/images/generations", OWN])(
    "cancels the image of its stream within a step (%s)",
    async (path) => {
      await using stub = await stubServer();
      const response = await stub.post({ ...BODY, window: "full" }, {}, path);
      const reader = response.body?.getReader();
      await reader?.read();
      while (stub.worker.batches.length < 3) await nextTurn();
      const forwards = stub.worker.batches.length;
      await reader?.cancel();
      await expect.poll(() => stub.worker.released).toEqual([1]);
      expect(stub.worker.batches.length).toBeLessThanOrEqual(forwards + 1);
      const { cacheRowCount, freeCacheRowCount, liveCount, waitingCount } = stub.engine.occupancy;
      expect([freeCacheRowCount, liveCount, waitingCount]).toEqual([cacheRowCount, 0, 0]);
    },
  );

  test("cancels all the images that it waits for", async () => {
    await using stub = await stubServer({}, { maxImages: 2 });
    const abort = new AbortController();
    const body = { ...BODY, stream: false, n: 4, window: "full" };
    const reply = stub.server.fetch(
      new Request("http://localhost/v1/images/generations", { ...jsonPost(body), signal: abort.signal }),
    );
    while (stub.worker.batches.length < 3) await nextTurn();
    abort.abort();
    expect((await reply).status).toBe(499);
    const { cacheRowCount, freeCacheRowCount, liveCount, waitingCount } = stub.engine.occupancy;
    expect([freeCacheRowCount, liveCount, waitingCount]).toEqual([cacheRowCount, 0, 0]);
    expect(stub.worker.batches.length).toBeLessThan(24);
    const page = await (await stub.fetch("/metrics")).text();
    expect(page).toContain('zipar_images_total{model="stub",outcome="cancelled"} 4');
    expect(page).toContain('zipar_images{model="stub",state="requested"} 0');
  });

  test("does not disturb the image of another in the same batch", async () => {
    await using stub = await stubServer();
    const leaving = await stub.post({ ...BODY, window: "full" });
    const staying = stub.post({ ...BODY, stream: false });
    while (stub.worker.batches.length < 3) await nextTurn();
    await leaving.body?.cancel();
    expect((await staying).status).toBe(200);
    expect(stub.worker.batches.some((batch) => batch.length === 2)).toBe(true);
  });
});

describe("zipar's own stream", () => {
  test("goes on from rows that are given, which are decoded from its start on", async () => {
    await using stub = await stubServer();
    const prefix = { tokens: [[1, 2, 3, 4, 5, 6]] };
    const events = await allEventsOf(await stub.post({ ...BODY, prefix }, {}, OWN));
    expect(events[0]?.data).toMatchObject({ type: "start", prefix: prefix.tokens });
    expect(events[1]?.data).toMatchObject({ type: "step", decodedCount: 7, tokenCount: 24 });
    const { tokens, stats } = events.at(-1)?.data ?? {};
    expect(tokens).toEqual(
      (await stub.engine.generate({ classLabel: 3, seed: 5, window: 2, prefix })).tokens,
    );
    expect(stats).toMatchObject({ forwards: 6 + 2 * 2, tokens: 18 });
  });

  test.each([
    [{ tokens: [[1, 2]] }, "2 tokens; expected 6"],
    [{ tokens: [["1"]] }, "expected a whole number"],
    [{ rows: 2 }, "prefix"],
  ])("refuses the prefix %j before it begins", async (prefix, message) => {
    await using stub = await stubServer();
    const refusal = await refusalOf(await stub.post({ ...BODY, prefix }, {}, OWN));
    expect(refusal.status).toBe(400);
    expect(refusal.message).toContain(message);
  });

  test.each([
    ["a fixed window with guesses", { window: 2, lookahead: 3 }],
    ["a guessed window", { window: "guessed" }],
    ["an adaptive window", { window: { kind: "adaptive", min: 1 } }],
  ] as const)("tells of %s what a trace of the same run holds", async (_, options) => {
    await using stub = await stubServer();
    const body = { prompt: "3", seed: 5, partial_images: 2, ...options };
    const events = await allEventsOf(await stub.post(body, {}, OWN));
    const lines: string[] = [];
    const result = await stub.engine.generate({
      classLabel: 3,
      seed: 5,
      ...options,
      trace: (line) => lines.push(line),
    });
    const recorded = [...traceEvents(await parseTrace(lines))];

    const told = events.filter(({ event }) => event === "start" || event === "step");
    const withoutTime = (event: object) => ({ ...event, atMs: 0 });
    expect(told.map(({ data }) => withoutTime(data))).toEqual(recorded.map(withoutTime));
    expect(told.map(({ id }) => id)).toEqual(told.map((_, k) => String(k)));
    expect(events.filter(({ event }) => event === "partial-image").length).toBeGreaterThan(0);

    const last = events.at(-1);
    expect(last).toMatchObject({
      event: "image",
      data: { seed: 5, tokens: result.tokens, format: "png", width: 48, height: 32 },
    });
    expect([...(await pixelsOf(last?.data.b64_json))]).toEqual([...result.image.pixels]);
    const grid = result.tokens.map((row) => row.map(() => -1));
    for (const { data } of told)
      for (const { row, column, token } of data.cells ?? []) (grid[row] as number[])[column] = token;
    expect(grid).toEqual(result.tokens);
    expect(told.at(-1)?.data).toMatchObject({ decodedCount: 24, tokenCount: 24 });
  });

  test("places guesses in cells that are not decoded yet, and tells drafts", async () => {
    await using stub = await stubServer();
    const guessed = await allEventsOf(await stub.post({ prompt: "3", window: 2, lookahead: 4 }, {}, OWN));
    const steps = guessed.filter(({ event }) => event === "step").map(({ data }) => data);
    const done = new Set<string>();
    let guessCount = 0;
    for (const { cells, guesses } of steps) {
      for (const { row, column } of guesses.cells) {
        guessCount += 1;
        expect(row).toBeLessThan(4);
        expect(column).toBeLessThan(6);
        expect(done.has(`${row} ${column}`)).toBe(false);
      }
      expect(guesses.cells.length).toBe(guesses.fedCount);
      for (const { row, column } of cells) done.add(`${row} ${column}`);
    }
    expect(guessCount).toBeGreaterThan(0);
    const adaptive = await allEventsOf(await stub.post({ prompt: "3", window: "adaptive" }, {}, OWN));
    expect(adaptive.flatMap(({ data }) => data.drafts ?? []).length).toBeGreaterThan(0);
  });

  test("refuses what it cannot hold", async () => {
    await using stub = await stubServer();
    expect(await refusalOf(await stub.post({ prompt: "3", n: 2 }, {}, OWN))).toMatchObject({ param: "n" });
    const url = { prompt: "3", response_format: "url" };
    expect(await refusalOf(await stub.post(url, {}, OWN))).toMatchObject({ param: "response_format" });
  });
});

test("an event stream that ends early is no image", async () => {
  await using stub = await stubServer();
  const events = eventsOf(await stub.post(BODY, {}, OWN));
  await events.next();
  await stub.server.stop();
  let last: unknown;
  for await (const event of events) last = event;
  expect(last).toMatchObject({ event: "error", data: { error: { code: "cancelled" } } });
});
