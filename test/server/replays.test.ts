import { readFileSync } from "node:fs";
import sharp from "sharp";
import { describe, expect, test } from "vitest";
import { packageRoot } from "../../src/python/location.ts";
import { allEventsOf, eventsOf, refusalOf, type StubServer, stubServer } from "../support/stub-server.ts";

const PATH = "/zipar/replays";
const LIVE = "/zipar/generations";
const TYPE = { "content-type": "application/x-ndjson" };
const IN_24_DAYS = 2 ** 31;

// biome-ignore lint/suspicious/noExplicitAny: records of many shapes
type Line = any;

async function record(stub: StubServer, options: object = { window: 2 }): Promise<string[]> {
  const lines: string[] = [];
  await stub.engine.generate({ classLabel: 3, seed: 5, ...options, trace: (line) => void lines.push(line) });
  return lines;
}

function replay(stub: StubServer, lines: readonly string[], query = "?speed=max", init: RequestInit = {}) {
  const body = lines.map((line) => `${line}\n`).join("");
  return stub.fetch(PATH + query, { method: "POST", headers: TYPE, body, ...init });
}

function changed(lines: readonly string[], at: number, change: (record: Line) => void): string[] {
  const record = JSON.parse(lines.at(at) as string);
  change(record);
  return lines.with(at, JSON.stringify(record)) as string[];
}

const windows = [
  { window: 2, lookahead: 3 },
  { window: "guessed" },
  { window: { kind: "adaptive", min: 1 } },
  { window: "full", lookahead: 0 },
  { window: 2, lookahead: 0, prefix: { tokens: [[1, 2, 3, 4, 5, 6]] } },
] as const;

describe("a replayed trace", () => {
  test.each(windows)("gives the events of the live run, with their ids and fields: %j", async (options) => {
    await using stub = await stubServer();
    const live = await allEventsOf(
      await stub.post({ prompt: "3", seed: 5, partial_images: 2, ...options }, {}, LIVE),
    );
    const lines = await record(stub, options);
    const response = await replay(stub, lines, "?speed=max&partial_images=2");
    expect(response.headers.get("content-type")).toBe("text/event-stream; charset=utf-8");
    const replayed = await allEventsOf(response);
    const told = (events: typeof live) =>
      events
        .filter(({ event }) => event !== "partial-image")
        .map(({ id, event, data: { b64_json: _, stats, ...data } }) => ({
          id,
          event,
          data: { ...data, atMs: 0, stats: stats && { ...stats, wallMs: 0 } },
        }));
    expect(told(replayed)).toEqual(told(live));
    for (const type of ["partial-image", "image"]) {
      const [one, other] = [live, replayed].map((events) => events.find(({ event }) => event === type)?.data);
      expect(Object.keys(other)).toEqual(Object.keys(one));
    }
    // The stub's own pictures are squares of one colour too.
    const pixels = ({ data }: { data: Line }) => sharp(Buffer.from(data.b64_json, "base64")).raw().toBuffer();
    expect((await pixels(replayed.at(-1) as Line)).equals(await pixels(live.at(-1) as Line))).toBe(true);
  });

  test("needs no model: nothing is loaded and no forward is run", async () => {
    await using stub = await stubServer();
    const lines = await record(stub);
    const forwards = stub.worker.batches.length;
    expect((await allEventsOf(await replay(stub, lines))).at(-1)?.event).toBe("image");
    expect(stub.worker.batches.length).toBe(forwards);
  });

  test("has as many previews as are asked for, the undecoded cells of each in grey", async () => {
    await using stub = await stubServer();
    const lines = await record(stub, { window: "full", lookahead: 0 });
    const events = await allEventsOf(await replay(stub, lines, "?speed=max&partial_images=3"));
    const previews = events.filter(({ event }) => event === "partial-image");
    const greys = await Promise.all(
      previews.map(async ({ data }) => {
        const pixels = await sharp(Buffer.from(data.b64_json, "base64")).raw().toBuffer();
        return pixels.filter((value) => value === 128).length;
      }),
    );
    expect(greys).toHaveLength(3);
    expect(greys).toEqual([...greys].sort((a, b) => b - a));
  });

  test("takes the times of the run, and ends with its reason where the server stops", async () => {
    await using stub = await stubServer();
    const lines = changed(await record(stub), 3, (step) => {
      step.atMs = IN_24_DAYS * 1000;
    });
    const events = eventsOf(await replay(stub, lines, "?speed=0.5"));
    for (const type of ["start", "step", "step"]) expect((await events.next()).value?.event).toBe(type);
    await stub.server.stop();
    expect((await events.next()).value).toMatchObject({
      event: "error",
      data: { error: { code: "cancelled" } },
    });
  });

  test("leaves its place when it ends, fails or its client hangs up; meanwhile others are 429", async () => {
    await using stub = await stubServer({ maxReplays: 1 });
    const lines = await record(stub);
    const slow = changed(lines, 1, (step) => {
      step.atMs = IN_24_DAYS;
    });
    const waiting = await replay(stub, slow, "");
    expect(await refusalOf(await replay(stub, lines))).toMatchObject({ status: 429, code: "queue_full" });
    await waiting.body?.cancel();
    expect((await replay(stub, ["nonsense"])).status).toBe(400);
    for (let k = 0; k < 3; k++)
      expect((await allEventsOf(await replay(stub, lines))).at(-1)?.event).toBe("image");
  });

  test("is cut off after the server's limit of time", async () => {
    await using stub = await stubServer({ timeoutMs: 1 });
    const slow = changed(await record(stub), 1, (step) => {
      step.atMs = IN_24_DAYS;
    });
    expect((await allEventsOf(await replay(stub, slow, ""))).at(-1)).toMatchObject({ event: "error" });
  });
});

describe("a trace that is refused", () => {
  const step = (change: (record: Line) => void) => (lines: string[]) => changed(lines, 3, change);
  const faults: readonly [string, (lines: string[]) => string[], RegExp][] = [
    ["nothing", () => [], /the trace, line 1: expected a zipar trace/],
    [
      "of another version",
      (lines) => changed(lines, 0, (header) => void Object.assign(header, { "zipar-trace": 9 })),
      /version/,
    ],
    ["cut off in a line", (lines) => lines.with(-1, (lines.at(-1) as string).slice(0, 20)), /cut off/],
    ["cut off between lines", (lines) => lines.slice(0, -1), /cells are decoded\), received the end/],
    ["an unknown field", step((record) => void Object.assign(record, { more: 1 })), /line 4/],
    [
      "a cell twice",
      (lines) =>
        changed(lines, 4, (r) => void Object.assign(r, { cells: JSON.parse(lines[3] as string).cells })),
      /not decoded yet/,
    ],
    ["a cell outside", step((record) => void Object.assign(record.cells[0], { row: 99 })), /cells\[0\]/],
    [
      "a token that there is not",
      step((record) => void Object.assign(record.cells[0], { token: 50 })),
      /token below 50/,
    ],
    [
      "a slot outside",
      step((record) => void Object.assign(record.queries[0], { slot: 10 ** 9 })),
      /queries\[0\]\.slot/,
    ],
    [
      "a guess in the prompt",
      step((r) => void Object.assign(r.queries[0], { kind: "guess", slot: 0 })),
      /a slot from 1/,
    ],
    [
      "a draft outside",
      step((r) => void r.drafts.push({ type: "draft-rejected", row: 4, window: 1, token: 0 })),
      /drafts\[0\]/,
    ],
    ["a time before the beginning", step((record) => void Object.assign(record, { atMs: -1 })), /atMs/],
  ];

  test.each(faults)("%s", async (_, damage, message) => {
    await using stub = await stubServer();
    const refusal = await refusalOf(await replay(stub, damage(await record(stub))));
    expect(refusal).toMatchObject({ status: 400, type: "invalid_request_error" });
    expect(refusal.message).toMatch(message);
  });

  test.each([
    ["?speed=0", /speed/],
    ["?speed=fast", /speed/],
    ["?partial_images=65", /partial_images/],
    ["?sped=1", /sped/],
  ])("with %s", async (query, message) => {
    await using stub = await stubServer();
    const refusal = await refusalOf(await replay(stub, await record(stub), query));
    expect(refusal).toMatchObject({ status: 400, message: expect.stringMatching(message) });
  });

  test("is too large, or no trace by its content type", async () => {
    await using stub = await stubServer({ maxTraceBytes: 100 });
    const lines = await record(stub);
    expect((await replay(stub, lines)).status).toBe(413);
    expect((await replay(stub, lines, "", { headers: { "content-type": "text/plain" } })).status).toBe(415);
  });
});

test("docs/server.md documents every field of every event that is sent", async () => {
  const page = readFileSync(`${packageRoot}/docs/server.md`, "utf8");
  await using stub = await stubServer();
  const lines = await record(stub, { window: { kind: "adaptive", min: 1 } });
  for (const { event, data } of await allEventsOf(await replay(stub, lines, "?speed=max&partial_images=1"))) {
    expect(page).toContain(`\`${event}\``);
    if (event !== "start")
      for (const field of Object.keys(data)) if (field !== "type") expect(page).toContain(field);
  }
});
