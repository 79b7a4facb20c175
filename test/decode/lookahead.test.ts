import fc from "fast-check";
import { describe, expect, test } from "vitest";
import {
  createEngine,
  type Engine,
  type GenerateOptions,
  parseTrace,
  replayTrace,
  stubWorker,
  ZiparError,
} from "../../src/index.ts";
import { contextWorker } from "../support/context-worker.ts";
import { runs, triesAllCases } from "../support/property-runs.ts";
import { recordingWorker } from "../support/recording-worker.ts";

const COLUMNS = 7;
const QUICK = { max: 1000, withinMs: 1e6, backoffMs: 0 };

const requests: fc.Arbitrary<GenerateOptions> = fc
  .record({
    classLabel: fc.nat(9),
    seed: fc.nat(999),
    window: fc.oneof(
      fc.constantFrom<GenerateOptions["window"]>(1, 2, 3, 5, "full", "full", "adaptive"),
      fc.record({ kind: fc.constant("guessed" as const), size: fc.integer({ min: 1, max: COLUMNS }) }),
    ),
    lookahead: fc.oneof(fc.integer({ min: 1, max: 200 }), fc.constant("auto" as const)),
    guidanceScale: fc.constantFrom(1, 2),
    interval: fc.tuple(fc.nat(10), fc.nat(10)),
    temperature: fc.constantFrom(0, 1),
    refreshRowEnds: fc.boolean(),
  })
  .map(({ interval: [a, b], ...options }) => ({
    ...options,
    guidanceInterval: [Math.min(a, b) / 11, (Math.max(a, b) + 1) / 11] as const,
    image: false,
  }));

const worlds = fc.record({
  stub: fc.record({
    rows: fc.integer({ min: 1, max: 6 }),
    columns: fc.constant(COLUMNS),
    rowEnd: fc.constantFrom("none" as const, "token" as const),
    promptLength: fc.integer({ min: 1, max: 4 }),
    codeCount: fc.constant(50),
  }),
  ease: fc.constantFrom(0, 0.5, 0.9),
  images: fc.array(requests, { minLength: 1, maxLength: 5 }),
  maxImages: fc.integer({ min: 1, max: 4 }),
});

describe("in a model in which everything matters", () => {
  test("an image is token for token the one without lookahead, in any batch, with guidance on or off, and takes no more forwards than plain decoding", async () => {
    let forwards = { plain: 0, looking: 0 };
    await fc.assert(
      fc.asyncProperty(worlds, async ({ stub, ease, images, maxImages }) => {
        const worker = contextWorker(stub, { codeCount: 50, ease });
        await using engine = await createEngine({ worker, maxImages });
        const looking = await generateAll(engine, images);
        const plain = await generateAll(
          engine,
          images.map((options) => ({ ...options, lookahead: 0 })),
        );
        for (const [k, { tokens, stats }] of looking.entries()) {
          const expected = plain[k] as (typeof plain)[number];
          expect(tokens).toEqual(expected.tokens);
          const isGuessed = typeof images[k]?.window === "object";
          expect(stats.plainForwards).toBe(
            isGuessed ? expected.stats.plainForwards : expected.stats.forwards,
          );
          expect(stats.forwards).toBeLessThanOrEqual(stats.plainForwards);
          forwards = {
            plain: forwards.plain + stats.plainForwards,
            looking: forwards.looking + stats.forwards,
          };
        }
      }),
      { numRuns: runs(200), seed: 1 },
    );
    if (triesAllCases) expect(forwards.looking).toBeLessThan(forwards.plain / 1.1);
  });

  test("a worker may be lost and images may leave at any time", async () => {
    let restartCount = 0;
    const losses = fc
      .tuple(fc.integer({ min: 1, max: 40 }), fc.array(fc.integer({ min: 15, max: 40 }), { maxLength: 4 }))
      .map(([first, others]) => [first, ...others]);
    const leaving = fc.array(fc.option(fc.nat(9), { nil: undefined }), { minLength: 5, maxLength: 5 });
    await fc.assert(
      fc.asyncProperty(worlds, losses, leaving, async ({ stub, ease, images, maxImages }, all, leaving) => {
        const source = contextWorker(stub, { codeCount: 50, ease });
        await using calm = await createEngine({ worker: source, maxImages });
        const expected = await generateAll(
          calm,
          images.map((options) => ({ ...options, lookahead: 0 })),
        );
        const worker = recordingWorker(stub, source);
        const after = [...all];
        let requestCount = 0;
        worker.beforeForward = () => {
          if (after.length > 0 && ++requestCount === after[0]) worker.lose();
        };
        worker.beforeRestart = () => {
          after.shift();
          requestCount = 0;
        };
        await using engine = await createEngine({ worker: worker.source, maxImages, restarts: QUICK });
        await Promise.all(
          images.map(async (options, k) => {
            const tokens = await tokensUpTo(engine, options, leaving[k]);
            if (tokens !== undefined) expect(tokens).toEqual(expected[k]?.tokens);
          }),
        );
        restartCount += engine.restartCount;
      }),
      { numRuns: runs(150), seed: 2 },
    );
    if (triesAllCases) expect(restartCount).toBeGreaterThan(100);
  });
});

test("where memory does not suffice for guesses fewer are fed, and the batch stays as large as it is", async () => {
  const stub = { rows: 5, columns: 9, codeCount: 3 } as const;
  const source = stubWorker(stub);
  let refused = 0;
  const largest: number[] = [];
  const worker: typeof source = {
    ...source,
    async open(options) {
      const opened = await source.open(options);
      const forward = opened.forward.bind(opened);
      opened.forward = async (steps) => {
        const queryCount = Math.max(...steps.map(({ plan }) => plan.queries.length));
        if (queryCount > 10 && ++refused > 0)
          throw new ZiparError({ code: "out-of-memory", message: "no room for so many queries" });
        largest.push(steps.length);
        return forward(steps);
      };
      return opened;
    },
  };
  await using engine = await createEngine({ worker });
  const images = [1, 2, 3].map((classLabel) => ({
    classLabel,
    seed: 1,
    window: "full" as const,
    image: false,
  }));
  const looking = await generateAll(
    engine,
    images.map((options) => ({ ...options, lookahead: 40 })),
  );
  expect(refused).toBe(3);
  expect(Math.max(...largest)).toBe(3);
  expect(largest[0]).toBe(3);
  const plain = await generateAll(
    engine,
    images.map((options) => ({ ...options, lookahead: 0 })),
  );
  expect(looking.map(({ tokens }) => tokens)).toEqual(plain.map(({ tokens }) => tokens));
});

test("where rounding depends on the rows of a forward, auto does not depend on the clock", async () => {
  const source = stubWorker({ rows: 4, columns: 9, codeCount: 3 });
  const worker: typeof source = {
    ...source,
    open: async (options) => Object.assign(await source.open(options), { dtype: "bfloat16" }),
  };
  await using engine = await createEngine({ worker });
  const lines: string[] = [];
  await engine.generate({ classLabel: 1, window: 3, image: false, trace: (line) => lines.push(line) });
  const { steps } = await parseTrace(lines);
  expect(new Set(steps.map(({ lookahead }) => lookahead))).toEqual(new Set([15]));
});

describe("the events, stats and traces of an image with guesses", () => {
  const stub = { rows: 6, columns: 8, codeCount: 3, reach: 2 } as const;
  const request = { classLabel: 1, seed: 4, image: false } as const;

  test("count forwards, and the guesses that were fed and held", async () => {
    await using engine = await createEngine({ worker: stubWorker(stub) });
    const plain = await engine.generate({ ...request, window: "full", lookahead: 0 });
    expect(plain.stats).toMatchObject({ forwards: 48, plainForwards: 48, guesses: { fed: 0, held: 0 } });
    const { stats } = await engine.generate({ ...request, window: "full", lookahead: 9 });
    expect(stats.plainForwards).toBe(48);
    expect(stats.guesses.held).toBe(48 - stats.forwards);
    expect(stats.guesses.fed).toBeGreaterThan(stats.guesses.held);
  });

  test("name every cell once, in the forward that made it final", async () => {
    await using engine = await createEngine({ worker: stubWorker(stub) });
    for (const window of [2, "full"] as const) {
      const generation = engine.generate({ ...request, window, lookahead: 5 });
      const cells: string[] = [];
      let forwards = 0;
      for await (const event of generation) {
        if (event.type !== "step") continue;
        forwards += 1;
        expect(event.forward).toBe(forwards);
        expect(event.cells.length).toBeGreaterThan(0);
        cells.push(...event.cells.map(({ row, column, token }) => `${row},${column}=${token}`));
        expect(event.decodedCount).toBe(cells.length);
      }
      const { tokens } = await generation;
      const all = tokens.flatMap((row, i) => row.map((token, j) => `${i},${j}=${token}`));
      expect(cells.sort()).toEqual(all.sort());
    }
  });

  test("replay, whatever lookahead each forward had", async () => {
    await using engine = await createEngine({ worker: stubWorker(stub) });
    const windows = [1, 3, "full"] as const;
    const runs = windows.flatMap((window) =>
      [6, "auto" as const].map((lookahead) => ({ window, lookahead })),
    );
    await Promise.all(
      runs.map(async (options) => {
        const lines: string[] = [];
        const { stats } = await engine.generate({
          ...request,
          ...options,
          trace: (line) => lines.push(line),
        });
        expect(replayTrace(await parseTrace(lines)).forwards).toBe(stats.forwards);
      }),
    );
  });

  test("previews come as often as without guesses", async () => {
    await using engine = await createEngine({ worker: stubWorker(stub) });
    for (const lookahead of [0, 3]) {
      let previews = 0;
      const generation = engine.generate({
        ...request,
        image: true,
        window: "full",
        lookahead,
        partialImages: 4,
      });
      for await (const { type } of generation) if (type === "partial-image") previews += 1;
      expect(previews).toBe(4);
    }
  });
});

function generateAll(engine: Engine, images: readonly GenerateOptions[]) {
  return Promise.all(images.map((options) => engine.generate(options)));
}

/** Leaves after so many forwards, if it is told to; undefined where it did. */
async function tokensUpTo(engine: Engine, options: GenerateOptions, forwards: number | undefined) {
  const generation = engine.generate(options);
  for await (const event of generation)
    if (event.type === "step" && forwards !== undefined && event.forward > forwards) return undefined;
  return (await generation).tokens;
}
