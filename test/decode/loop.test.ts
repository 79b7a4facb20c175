import fc from "fast-check";
import { describe, expect, test } from "vitest";
import {
  createEngine,
  type GenerateOptions,
  type StubOptions,
  stubWorker,
  ZiparError,
} from "../../src/index.ts";
import { ziparErrorOf } from "../support/errors.ts";
import { runs } from "../support/property-runs.ts";
import { recordingWorker } from "../support/recording-worker.ts";

type Tokens = readonly (readonly number[])[];

async function tokensOf(stub: StubOptions, options: GenerateOptions): Promise<Tokens> {
  await using engine = await createEngine({ worker: stubWorker(stub) });
  return (await engine.generate({ classLabel: 3, image: false, ...options })).tokens;
}

describe("property 4: where a token depends on r tokens of the row above, every window of at least r is next-token order", () => {
  for (const rowEnd of ["none", "token"] as const) {
    test(`row end ${rowEnd}`, async () => {
      await fc.assert(
        fc.asyncProperty(
          fc.record({
            rows: fc.integer({ min: 1, max: 7 }),
            columns: fc.integer({ min: 1, max: 9 }),
            reach: fc.nat(10),
            seed: fc.nat(99),
          }),
          async ({ rows, columns, reach, seed }) => {
            const stub = { rows, columns, rowEnd, reach, codeCount: 64, seed };
            const raster = await tokensOf(stub, { window: "full", seed });
            for (let window = Math.max(1, Math.min(reach, columns)); window <= columns; window++) {
              expect(await tokensOf(stub, { window, seed }), `window ${window}`).toEqual(raster);
            }
          },
        ),
        { numRuns: runs(25), seed: 1 },
      );
    });

    test(`a window below r gives other tokens (row end ${rowEnd})`, async () => {
      const stub = { rows: 5, columns: 9, rowEnd, reach: 4, codeCount: 64 };
      const raster = await tokensOf(stub, { window: "full", seed: 1 });
      for (const window of [1, 2, 3])
        expect(await tokensOf(stub, { window, seed: 1 }), `window ${window}`).not.toEqual(raster);
    });
  }
});

describe("many images at once", () => {
  const stub = { rows: 5, columns: 7, reach: 3, codeCount: 50 } as const;
  const windows: GenerateOptions["window"][] = [
    1,
    2,
    3,
    7,
    "full",
    "adaptive",
    { kind: "adaptive", min: 2, test: "coupled" },
  ];
  const requests = windows.map(
    (window, k): GenerateOptions => ({ classLabel: k, window, seed: 100 + k, topK: k % 3, image: false }),
  );

  test("calls of one tick share every forward, and each image is the one that it would be alone", async () => {
    const alone = await Promise.all(requests.map((request) => tokensOf(stub, request)));
    const worker = recordingWorker(stub);
    await using engine = await createEngine({ worker: worker.source });
    const together = await Promise.all(requests.map((request) => engine.generate(request)));
    expect(together.map(({ tokens }) => tokens)).toEqual(alone);
    expect(worker.batches[0]).toHaveLength(requests.length);
    expect(worker.batches.length).toBe(Math.max(...together.map(({ stats }) => stats.forwards)));
  });

  test("joins, leaves and cancellations at random forwards leave every other image as it was", async () => {
    const alone = await Promise.all(requests.map((request) => tokensOf(stub, request)));
    const arrivals = fc.record({
      at: fc.array(fc.nat(25), { minLength: requests.length, maxLength: requests.length }),
      cancelAt: fc.array(fc.option(fc.nat(12), { nil: undefined }), {
        minLength: requests.length,
        maxLength: requests.length,
      }),
      maxImages: fc.integer({ min: 1, max: 5 }),
    });
    await fc.assert(
      fc.asyncProperty(arrivals, async ({ at, cancelAt, maxImages }) => {
        const worker = recordingWorker(stub);
        await using engine = await createEngine({ worker: worker.source, maxImages });
        const outcomes: (Promise<Tokens | "cancelled"> | undefined)[] = requests.map(() => undefined);
        const start = (k: number) => {
          const abort = new AbortController();
          const steps = cancelAt[k];
          const generation = engine.generate({ ...requests[k], signal: abort.signal });
          outcomes[k] = generation.then(
            ({ tokens }) => tokens,
            (error) => {
              expect(error).toMatchObject({ code: "cancelled" });
              return "cancelled" as const;
            },
          );
          void (async () => {
            for await (const event of generation) {
              if (event.type === "step" && steps !== undefined && event.forward > steps) abort.abort();
            }
          })().catch(() => {});
        };
        worker.beforeForward = async (index) => {
          for (const [k, forward] of at.entries())
            if (forward === index && outcomes[k] === undefined) start(k);
          await new Promise(setImmediate); // lets events reach their listeners
        };
        start(0);
        await outcomes[0];
        for (const k of requests.keys()) if (outcomes[k] === undefined) start(k);
        for (const [k, outcome] of (await Promise.all(outcomes)).entries()) {
          if (cancelAt[k] === undefined) expect(outcome).toEqual(alone[k]);
          else if (outcome !== "cancelled") expect(outcome).toEqual(alone[k]);
        }
        expect(new Set(worker.released).size).toBe(worker.released.length);
        expect([...worker.released].sort((a, b) => a - b)).toEqual(worker.prompts);
      }),
      { numRuns: runs(30), seed: 3 },
    );
  });

  test("images wait for cache rows in the order in which they were asked for", async () => {
    const worker = recordingWorker(stub);
    await using engine = await createEngine({ worker: worker.source, maxImages: 1 }); // two cache rows: two unguided images
    const done: number[] = [];
    await Promise.all(
      [0, 1, 2, 3, 4].map((k) =>
        engine.generate({ classLabel: k, window: 2, image: false }).then(() => done.push(k)),
      ),
    );
    expect(done).toEqual([0, 1, 2, 3, 4]);
    expect(Math.max(...worker.batches.map((batch) => batch.length))).toBe(2);
  });

  test("a guided image takes one cache row per branch", async () => {
    const worker = recordingWorker(stub);
    await using engine = await createEngine({ worker: worker.source, maxImages: 1 });
    await Promise.all(
      [1, 2].map((k) => engine.generate({ classLabel: k, guidanceScale: 2, window: 2, image: false })),
    );
    expect(Math.max(...worker.batches.map((batch) => batch.length))).toBe(1);
  });

  test("images asked for one after the other all run, without pictures too", async () => {
    await using engine = await createEngine({ worker: stubWorker(stub) });
    for (let k = 0; k < 4; k++) {
      expect(
        (await engine.generate({ classLabel: k, window: 2, lookahead: 0, image: false })).stats.forwards,
      ).toBe(7 + 4 * 2);
    }
  });

  test("an image asked for in the very moment in which the last one ends runs too", async () => {
    await using engine = await createEngine({ worker: stubWorker(stub) });
    for (let delay = 0; delay < 8; delay++) {
      const first = engine.generate({ classLabel: 1, window: 2, image: false });
      let chain: Promise<unknown> = first.then(() => {});
      for (let k = 0; k < delay; k++) chain = chain.then(() => {});
      const second = chain.then(() => engine.generate({ classLabel: 2, window: 2, image: false }));
      expect((await second).stats.tokens).toBe(35);
    }
  });
});

describe("the queue", () => {
  const stub = { rows: 3, columns: 3 } as const;
  const request = { classLabel: 1, guidanceScale: 2, window: 2, image: false } as const; // fills the cache of one image

  test("refuses an image when it is full, and says how to make room", async () => {
    const worker = recordingWorker(stub);
    let release = () => {};
    worker.beforeForward = (index) =>
      index === 0 ? new Promise((resolve) => (release = resolve)) : undefined;
    await using engine = await createEngine({ worker: worker.source, maxImages: 1, maxQueue: 1 });
    const running = engine.generate(request);
    await new Promise(setImmediate);
    const waiting = engine.generate(request);
    const error = await ziparErrorOf(() => engine.generate(request));
    expect(error.code).toBe("queue-full");
    expect(error.message).toContain("maxQueue");
    release();
    await Promise.all([running, waiting]);
  });

  test("of length 0 still lets an image start when there is room for it", async () => {
    await using engine = await createEngine({ worker: stubWorker(stub), maxQueue: 0 });
    expect((await engine.generate(request)).stats.tokens).toBe(9);
  });
});

describe("a forward that fails", () => {
  const stub = { rows: 3, columns: 3, reach: 2 } as const;
  const request = { window: 2, image: false } as const;

  test("fails the image that is at fault, frees its rows, and costs the others nothing", async () => {
    const alone = await Promise.all(
      [1, 2, 3].map((classLabel) => tokensOf(stub, { ...request, classLabel, seed: 1 })),
    );
    const worker = recordingWorker(stub);
    worker.beforeForward = (index) => {
      if (worker.batches[index]?.includes(2) && index > 2) throw new Error("out of luck");
    };
    await using engine = await createEngine({ worker: worker.source });
    const outcomes = await Promise.allSettled(
      [1, 2, 3].map((classLabel) => engine.generate({ ...request, classLabel, seed: 1 })),
    );
    expect(outcomes.map(({ status }) => status)).toEqual(["fulfilled", "rejected", "fulfilled"]);
    for (const k of [0, 2]) {
      const outcome = outcomes[k];
      expect(outcome?.status === "fulfilled" && outcome.value.tokens).toEqual(alone[k]);
    }
    expect(worker.released.sort()).toEqual([1, 2, 3]);
    expect((await engine.generate({ ...request, classLabel: 1 })).stats.tokens).toBe(9);
  });

  test("for want of memory makes the batch smaller for good: the others wait, and none is lost", async () => {
    const worker = recordingWorker(stub);
    worker.beforeForward = (index) => {
      if ((worker.batches[index]?.length ?? 0) > 2) {
        throw new ZiparError({ code: "out-of-memory", message: "no room for a third image" });
      }
    };
    await using engine = await createEngine({ worker: worker.source });
    const results = await Promise.all(
      [1, 2, 3, 4, 5].map((classLabel) => engine.generate({ ...request, classLabel, seed: 1 })),
    );
    const alone = await Promise.all(
      [1, 2, 3, 4, 5].map((classLabel) => tokensOf(stub, { ...request, classLabel, seed: 1 })),
    );
    expect(results.map(({ tokens }) => tokens)).toEqual(alone);
    expect(worker.batches.filter((batch) => batch.length > 2)).toEqual([
      [1, 2, 3, 4, 5],
      [1, 2, 3],
    ]);
  });

  test("for want of memory for one image alone fails that image with out-of-memory", async () => {
    const worker = recordingWorker(stub);
    worker.beforeForward = () => {
      throw new ZiparError({ code: "out-of-memory", message: "no room at all" });
    };
    await using engine = await createEngine({ worker: worker.source });
    const outcomes = await Promise.allSettled(
      [1, 2].map((classLabel) => engine.generate({ ...request, classLabel })),
    );
    for (const outcome of outcomes) {
      expect(outcome.status === "rejected" && outcome.reason).toMatchObject({ code: "out-of-memory" });
    }
    expect(worker.startCount).toBe(1);
  });

  test("a picture for which there is no room is asked for again once nothing else runs", async () => {
    const worker = recordingWorker({ ...stub, rows: 9 });
    let refused = 0;
    let running = 0;
    worker.beforeForward = () => {
      running += 1;
    };
    worker.beforeRequest = (kind) => {
      if (kind === "picture" && refused++ === 0) {
        throw new ZiparError({ code: "out-of-memory", message: "no room for pixels" });
      }
    };
    await using engine = await createEngine({ worker: worker.source });
    const [short, long] = await Promise.all([
      engine.generate({ classLabel: 1, window: 1 }),
      engine.generate({ classLabel: 1, window: 3 }),
    ]);
    expect([short.image.width, long.image.width]).toEqual([24, 24]);
    expect(refused).toBe(3);
    expect(running).toBe(long.stats.forwards);
  });
});
