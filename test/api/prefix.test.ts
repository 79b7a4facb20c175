import { describe, expect, test } from "vitest";
import { createEngine, type GenerateOptions, parseTrace, stubWorker, type Trace } from "../../src/index.ts";
import { summarizeTrace } from "../../src/trace/summary.ts";
import { ziparErrorOf } from "../support/errors.ts";
import { recordingWorker } from "../support/recording-worker.ts";

/** The stub's tokens depend on three of the row above, so that all of these windows give those of next-token order. */
const STUB = { rows: 6, columns: 8, reach: 3, codeCount: 40, promptLength: 5 } as const;
const ENOUGH: readonly GenerateOptions[] = [
  { window: "full" },
  { window: "full", lookahead: 9 },
  { window: 3, lookahead: 0 },
  { window: 5, lookahead: 4 },
  { window: { kind: "guessed", size: 8 } },
  { window: { kind: "adaptive", min: 3 } },
  { window: { kind: "adaptive", min: 4, verification: "sequential", test: "coupled" } },
];
const REQUEST = { classLabel: 3, seed: 5, guidanceScale: 2 } as const;
const QUICK = { max: 1000, withinMs: 1e6, backoffMs: 0 };

describe.each(["none", "token"] as const)("rows that are given, with row ends: %s", (rowEnd) => {
  test.each(ENOUGH)("are gone on from as if they had been decoded: %j", async (options) => {
    await using engine = await createEngine({ worker: stubWorker({ ...STUB, rowEnd }) });
    const { tokens, image } = await engine.generate({ ...REQUEST, window: "full" });
    for (const count of [1, 3, 5]) {
      const prefix = { tokens: tokens.slice(0, count) };
      for (const guidanceInterval of [
        [0, 1],
        [0.4, 0.9],
      ] as const) {
        const result = await engine.generate({ ...REQUEST, ...options, prefix, guidanceInterval });
        expect(result.tokens).toEqual(tokens);
        expect(Buffer.compare(result.image.pixels, image.pixels)).toBe(0);
      }
    }
  });

  test("cost the forwards of a grid of the rows that are left", async () => {
    await using engine = await createEngine({ worker: stubWorker({ ...STUB, rowEnd }) });
    const { tokens } = await engine.generate({ ...REQUEST, window: 2 });
    const prefix = { tokens: tokens.slice(0, 4) };
    const { stats, rows } = await engine.generate({ ...REQUEST, prefix, window: 2, lookahead: 0 });
    expect(rows).toBe(6);
    expect(stats).toMatchObject({ forwards: 8 + 2, plainForwards: 8 + 2, tokens: 16, promptTokens: 5 });
    expect(stats.nextTokenForwards).toBe(2 * (rowEnd === "token" ? 9 : 8));
    expect((await engine.workerStats()).forwardCount).toBe(8 + 5 * 2 + 8 + 2 + 1); // and one that wrote the given rows
  });
});

test("given rows are written in one forward for all images that wait, and are there from the first event on", async () => {
  const worker = recordingWorker(STUB);
  await using engine = await createEngine({ worker: worker.source, maxImages: 4 });
  const prefix = { tokens: [[1, 2, 3, 4, 5, 6, 7, 8]] };
  const first: number[] = [];
  const generations = [1, 2, 3].map(async (classLabel) => {
    const generation = engine.generate({ classLabel, prefix, window: 2, lookahead: 0, partialImages: 2 });
    const counts: number[] = [];
    let previewCount = 0;
    for await (const event of generation) {
      if (event.type === "step") counts.push(event.decodedCount);
      if (event.type !== "partial-image") continue;
      previewCount += 1;
      expect([...event.decoded.subarray(0, 8)]).toEqual(new Array(8).fill(1));
    }
    expect(previewCount).toBe(2);
    first.push(counts[0] as number);
    return (await generation).tokens[0];
  });
  for (const row of await Promise.all(generations)) expect(row).toEqual(prefix.tokens[0]);
  expect(first).toEqual([9, 9, 9]); // a row and a cell
  expect(worker.batches).toEqual(new Array(1 + 8 + 4 * 2).fill([1, 2, 3]));
});

test("a worker may be lost at any request: the picture is the same, and one that had begun tells so", async () => {
  const prefix = { tokens: [8, 9].map((code) => new Array<number>(8).fill(code)) };
  const request = { ...REQUEST, prefix, window: 2, lookahead: 0 };
  await using calm = await createEngine({ worker: stubWorker(STUB) });
  const { tokens } = await calm.generate(request);
  for (let lostAt = 0; lostAt < 16; lostAt++) {
    const worker = recordingWorker(STUB);
    worker.beforeForward = (index) => {
      if (index === lostAt) worker.lose();
    };
    await using engine = await createEngine({ worker: worker.source, restarts: QUICK });
    const result = await engine.generate(request);
    expect(result.tokens, `lost at forward ${lostAt}`).toEqual(tokens);
    expect(result.stats.forwards).toBe(8 + 3 * 2);
    expect(result.stats.restarts).toBe(lostAt < 2 || lostAt > 14 ? 0 : 1); // 0 writes the prefix, 1 is the first of the picture's own
  }
});

test("a trace begins with the given rows, and counts them as decoded", async () => {
  await using engine = await createEngine({ worker: stubWorker(STUB) });
  const prefix = { tokens: [8, 9].map((code) => new Array<number>(8).fill(code)) };
  const record = async (options: GenerateOptions): Promise<Trace> => {
    const lines: string[] = [];
    await engine.generate({ ...REQUEST, ...options, trace: (line) => void lines.push(line) });
    return parseTrace(lines);
  };
  const trace = await record({ prefix, window: 2, lookahead: 0 });
  expect(trace.header.prefix).toEqual(prefix.tokens);
  const summary = summarizeTrace(trace);
  expect(summary).toMatchObject({ prefixRows: 2, decodedCount: 48, forwards: 14, nextTokenForwards: 32 });
  expect(summary.openedAt).toEqual([0, 2, 2, 2, 2]);
  expect([...summary.steps.subarray(0, 17)]).toEqual([...new Array(16).fill(0), 1]);
  expect((await record({ window: 2 })).header).not.toHaveProperty("prefix");
});

describe("a prefix is refused that", () => {
  const row = (length: number, code = 1) => new Array<number>(length).fill(code);
  test.each<[string, unknown, readonly string[]]>([
    ["has no rows", [], ["prefix.tokens", "at least 1 value"]],
    ["has all rows", new Array(6).fill(row(8)), ["6 rows", "6 x 8", "1 to 5 rows"]],
    ["has a row that is too short", [row(8), row(7)], ["prefix.tokens[1]", "7 tokens", "expected 8"]],
    ["has a code beyond the codebook", [row(8), [...row(7), 40]], ["prefix.tokens[1][7]", "= 40", "0 to 39"]],
    ["has a code below it", [[...row(7), -1]], ["prefix.tokens[0][7]", "-1", "at least 0"]],
    ["has half a code", [[...row(7), 1.5]], ["prefix.tokens[0][7]", "1.5", "whole number"]],
    ["is no list of rows", row(8), ["prefix.tokens[0]", "array"]],
  ])("%s", async (_, tokens, words) => {
    await using engine = await createEngine({ worker: stubWorker(STUB) });
    const error = await ziparErrorOf(() => engine.generate({ ...REQUEST, prefix: { tokens } as never }));
    expect(error.code).toBe("invalid-options");
    for (const word of words) expect(error.message).toContain(word);
  });

  test.each([[{ image: "half.png", rows: 3 }], [{}], [[[1, 2]]], ["half.png"]])(
    "is not made of tokens: %j",
    async (prefix) => {
      await using engine = await createEngine({ worker: stubWorker(STUB) });
      const error = await ziparErrorOf(() => engine.generate({ ...REQUEST, prefix: prefix as never }));
      expect(error.message).toContain("`prefix");
      expect(error.message).toMatch(/readPictureTokens|array/);
    },
  );

  test("leaves no row of a picture of one row", async () => {
    await using engine = await createEngine({ worker: stubWorker({ ...STUB, rows: 1 }) });
    const error = await ziparErrorOf(() => engine.generate({ ...REQUEST, prefix: { tokens: [row(8)] } }));
    expect(error.message).toContain("no row that could be given");
  });
});
