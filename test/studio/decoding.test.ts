import { describe, expect, test } from "vitest";
import { createEngine, stubWorker } from "../../src/index.ts";
import { type Decoding, NOTHING_DECODED, reduceDecoding } from "../../src/studio/decoding.ts";
import type { StudioEvent } from "../../src/studio/events.ts";
import { figuresAt } from "../../src/studio/figures.ts";
import { ageAt, marksAt } from "../../src/studio/marks.ts";
import { readTraceFile } from "../../src/studio/trace-file.ts";

const STUB = { rows: 6, columns: 8, codeCount: 40 };

async function eventsOf(options: object): Promise<readonly StudioEvent[]> {
  const lines: string[] = [];
  const engine = await createEngine({ worker: stubWorker(STUB) });
  await engine.generate({ classLabel: 3, seed: 5, trace: (line) => lines.push(line), ...options });
  await engine.dispose();
  return readTraceFile(lines.join("\n"));
}

function reduced(events: readonly StudioEvent[]): Decoding {
  return events.reduce(reduceDecoding, NOTHING_DECODED);
}

const image = { type: "image", seed: 5, format: "png", width: 64, height: 48, b64_json: "" } as const;
const stats = { forwards: 1, nextTokenForwards: 48, wallMs: 1 };

describe("a decoding", () => {
  test("knows the forward of every cell, each decoded once, in the order of its events", async () => {
    const events = await eventsOf({ window: 2, lookahead: 3 });
    const decoding = reduced(events);
    expect(decoding.phase).toBe("decoding");
    for (const event of events)
      if (event.type === "step")
        for (const { row, column } of event.cells)
          expect(decoding.forwardOf[row * 8 + column]).toBe(event.forward);
    expect(Math.min(...decoding.forwardOf)).toBe(1);
    expect(Math.max(...decoding.forwardOf)).toBe(decoding.steps.length);
    expect(reduceDecoding(decoding, { ...image, stats }).phase).toBe("finished");
  });

  test("has cells that were given from its start on, older than all others", async () => {
    const events = await eventsOf({
      window: 2,
      lookahead: 0,
      prefix: { tokens: [[1, 2, 3, 4, 5, 6, 7, 8]] },
    });
    const decoding = reduced(events);
    const ages = (forward: number) => [0, 7, 8].map((cell) => ageAt(decoding, cell, forward));
    expect(ages(0)).toEqual([Infinity, Infinity, undefined]);
    expect(ages(3)).toEqual([Infinity, Infinity, 2]);
    const last = decoding.steps.length;
    expect(figuresAt(decoding, 0)).toMatchObject({
      decodedCount: 8,
      nextTokenForwards: 40,
      nextTokenForward: 0,
    });
    expect(figuresAt(decoding, last)).toMatchObject({ decodedCount: 48, nextTokenForward: 40 });
    const half = figuresAt({ ...decoding, steps: decoding.steps.slice(0, 8) }, 8);
    expect(Math.round(((half?.leftMs ?? 0) / 1000) * (half?.forwardsPerSecond ?? 0))).toBe(last - 8);
  });

  test("is never changed: what was drawn stays what it was", async () => {
    const events = await eventsOf({ window: 2 });
    const half = reduced(events.slice(0, 5));
    const before = structuredClone(half);
    events.slice(5).reduce(reduceDecoding, half);
    expect(half).toEqual(before);
  });

  test("goes on after a lost worker, and remembers where it was lost", async () => {
    const events = await eventsOf({ window: 2 });
    const lost = [...events.slice(0, 4), { type: "worker-lost", code: "worker-died" } as const];
    expect(reduced(lost)).toMatchObject({
      phase: "recovering",
      losses: [{ forward: 3, code: "worker-died" }],
    });
    const restored = { type: "worker-restored", rebuildForwards: 2 } as const;
    expect(reduced([...lost, restored, ...events.slice(4)])).toMatchObject({
      phase: "decoding",
      steps: { length: events.length - 1 },
    });
    const early = reduced([{ type: "worker-lost", code: "worker-died" }, restored]);
    expect(early.phase).toBe("waiting");
  });

  test.each([
    [{ type: "error", error: { code: "queue_full", message: "Later." } }, "failed"],
    [{ type: "cut-off" }, "failed"],
    [{ type: "cancelled" }, "cancelled"],
    [{ ...image, stats }, "finished"],
  ] as const)("is over with %o, and nothing after it counts", async (last, phase) => {
    const events = await eventsOf({ window: 2 });
    const over = reduced([...events.slice(0, 4), last]);
    expect(over.phase).toBe(phase);
    for (const event of [{ type: "cut-off" } as const, events[5] as StudioEvent])
      expect(reduceDecoding(over, event)).toBe(over);
  });

  test("passes over events that a newer server may send", () => {
    expect(reduced([{ type: "weather" } as never])).toEqual(NOTHING_DECODED);
  });
});

describe("the marks of a forward", () => {
  test.each([
    ["a plain window", { window: 2, lookahead: 4 }],
    ["next-token order", { window: "full", lookahead: 4 }],
  ])("have as many guesses that held as the server counted, under %s", async (_, options) => {
    const decoding = reduced(await eventsOf(options));
    let fed = 0;
    for (const { forward, guesses, cells } of decoding.steps) {
      const marks = marksAt(decoding, forward);
      const count = (kind: string) => marks.filter((mark) => mark.kind === kind).length;
      expect(count("guess-held")).toBe(guesses.heldCount);
      expect(count("guess-held") + count("guess-fell") + count("guess-open")).toBe(guesses.cells.length);
      expect(count("new")).toBe(cells.length);
      fed += guesses.fedCount;
    }
    expect(fed).toBeGreaterThan(0);
  });

  test("are at cells that are not decoded before it, and open ones at cells that are not by then", async () => {
    const decoding = reduced(await eventsOf({ window: "guessed" }));
    let open = 0;
    for (const { forward } of decoding.steps)
      for (const { kind, row, column } of marksAt(decoding, forward)) {
        expect(ageAt(decoding, row * 8 + column, forward - 1)).toBeUndefined();
        expect(ageAt(decoding, row * 8 + column, forward)).toBe(kind === "guess-open" ? undefined : 0);
        open += kind === "guess-open" ? 1 : 0;
      }
    expect(open).toBeGreaterThan(0);
  });

  test("tell the drafts of the adaptive window at the first cell of their row", async () => {
    const decoding = reduced(await eventsOf({ window: { kind: "adaptive", min: 1 } }));
    const verdicts = decoding.steps.flatMap(({ drafts }) => drafts);
    const marks = decoding.steps
      .flatMap(({ forward }) => marksAt(decoding, forward))
      .filter(({ kind }) => kind.startsWith("draft"));
    expect(verdicts.length).toBeGreaterThan(0);
    expect(marks).toEqual(
      verdicts.map(({ type, row }) => ({
        kind: type === "draft-accepted" ? "draft-held" : "draft-refused",
        row,
        column: 0,
      })),
    );
  });

  test("are none where there is no such forward", async () => {
    const decoding = reduced(await eventsOf({ window: 2 }));
    expect([marksAt(decoding, 0), marksAt(decoding, 999), marksAt(NOTHING_DECODED, 1)]).toEqual([[], [], []]);
  });
});

describe("figures", () => {
  /** A forward each 100 ms. */
  async function timed(options: object): Promise<readonly StudioEvent[]> {
    const events = await eventsOf(options);
    return events.map((event) => (event.type === "step" ? { ...event, atMs: event.forward * 100 } : event));
  }

  test.each([
    [{ window: 2, lookahead: 0 }, 8 + 5 * 2],
    [{ window: "full", lookahead: 0 }, 48],
  ])(
    "say how long %o takes from here, to the forward where nothing is guessed",
    async (options, forwards) => {
      const events = await timed(options);
      expect(events.length - 1).toBe(forwards);
      for (const k of [4, 9, forwards - 1]) {
        const figures = figuresAt(reduced(events.slice(0, k + 1)), k);
        expect(figures?.forwardsPerSecond).toBeCloseTo(10);
        expect(figures?.leftMs).toBeCloseTo((forwards - k) * 100);
      }
      expect(figuresAt(reduced(events), forwards)).toMatchObject({
        decodedCount: 48,
        leftMs: 0,
        nextTokenForwards: 48,
      });
    },
  );

  test("take it that guesses hold as often as they did", async () => {
    const events = await timed({ window: "full", lookahead: 8 });
    const half = Math.floor(events.length / 2);
    const left = figuresAt(reduced(events.slice(0, half + 1)), half)?.leftMs ?? 0;
    expect(left / 100).toBeGreaterThan(0.5 * (events.length - 1 - half));
    expect(left / 100).toBeLessThan(2 * (events.length - 1 - half));
  });

  test("say no time before there is a speed, in the past and after the end", async () => {
    const events = await timed({ window: 2 });
    expect(figuresAt(NOTHING_DECODED, 0)).toBeUndefined();
    expect(figuresAt(reduced(events.slice(0, 2)), 1)).toMatchObject({
      forwardsPerSecond: undefined,
      leftMs: undefined,
    });
    expect(figuresAt(reduced(events.slice(0, 9)), 5)?.leftMs).toBeUndefined();
    expect(figuresAt(reduced([...events, { ...image, stats }]), 9)?.leftMs).toBeUndefined();
    expect(figuresAt(reduced(events.slice(0, 1)), 0)).toMatchObject({ decodedCount: 0, elapsedMs: 0 });
  });

  test("count what next-token order would have needed, row ends with it", async () => {
    const [start, ...steps] = await eventsOf({ window: 2 });
    const withEnds = { ...(start as object), grid: { rows: 6, columns: 8, rowEnd: "token" } } as StudioEvent;
    expect(figuresAt(reduced([withEnds, ...steps]), steps.length)).toMatchObject({
      nextTokenForwards: 54,
      nextTokenForward: 54,
    });
  });
});
