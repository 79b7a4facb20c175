import fc from "fast-check";
import { describe, expect, test } from "vitest";
import { LOSS_LIMIT } from "../../src/decode/worker-lost.ts";
import {
  createEngine,
  type GenerateOptions,
  stubWorker,
  type WorkerSource,
  ZiparError,
} from "../../src/index.ts";
import { ziparErrorOf } from "../support/errors.ts";
import { runs, triesAllCases } from "../support/property-runs.ts";
import { recordingTeam } from "../support/recording-team.ts";
import { loss } from "../support/recording-worker.ts";

const STUB = { rows: 5, columns: 7, reach: 3, codeCount: 50 } as const;
const QUICK = { max: 1000, withinMs: 1e6, backoffMs: 0 };
const WINDOWS: GenerateOptions["window"][] = [1, 3, "full", "adaptive", "guessed", 2, 4, 2];
const REQUESTS = WINDOWS.map(
  (window, k): GenerateOptions => ({ classLabel: k % 5, window, seed: 200 + k, lookahead: 0 }),
);

async function calmResults() {
  await using engine = await createEngine({ worker: stubWorker(STUB) });
  return await Promise.all(REQUESTS.map((request) => engine.generate(request)));
}

const MOST_LOSSES = LOSS_LIMIT - 1;

/** Opens a gate once: whoever waits for it goes on. */
function gate() {
  let open = () => {};
  const opened = new Promise<void>((resolve) => {
    open = resolve;
  });
  return { open, opened };
}

describe("several workers behind one engine", () => {
  test("make the images that one makes, whichever of them are lost whenever", async () => {
    const expected = await calmResults();
    const cases = fc.record({
      /** Per worker: after how many forwards it is lost. */
      after: fc.array(fc.array(fc.integer({ min: 3, max: 40 }), { maxLength: 3 }), {
        minLength: 2,
        maxLength: 4,
      }),
      maxImages: fc.integer({ min: 1, max: 4 }),
    });
    const seen = { losses: 0, shared: 0 };
    await fc.assert(
      fc.asyncProperty(cases, async ({ after, maxImages }) => {
        const { source, devices, workers } = recordingTeam(STUB, after.length);
        let lossCount = 0;
        for (const [k, worker] of workers.entries()) {
          const left = [...(after[k] as number[])];
          worker.beforeForward = (index) => {
            // An image whose same step costs three workers in a row is given up: there are fewer losses than that.
            if (left[0] === undefined || index < left[0] || lossCount === MOST_LOSSES) return;
            left.shift();
            seen.losses += 1;
            lossCount += 1;
            worker.lose();
          };
        }
        await using engine = await createEngine({
          worker: source,
          devices: [...devices],
          maxImages,
          restarts: QUICK,
        });
        const results = await Promise.all(REQUESTS.map((request) => engine.generate(request)));
        for (const [k, { tokens, stats, image }] of expected.entries()) {
          expect(results[k]?.tokens).toEqual(tokens);
          expect(results[k]?.stats.forwards).toBe(stats.forwards);
          expect(Buffer.compare(results[k]?.image.pixels ?? Buffer.of(), image.pixels)).toBe(0);
        }
        if (workers.every(({ prompts }) => prompts.length > 0)) seen.shared += 1;
        expect(engine.workers.map(({ images }) => images)).toEqual(devices.map(() => 0));
      }),
      { numRuns: runs(60), seed: 5 },
    );
    if (!triesAllCases) return;
    expect(seen.losses).toBeGreaterThan(60);
    expect(seen.shared).toBeGreaterThan(40);
  });

  test("go on with the images of a lost one at once, while its replacement starts", async () => {
    const expected = await calmResults();
    const { source, devices, workers } = recordingTeam(STUB, 2);
    const restart = gate();
    const [first, second] = workers as [(typeof workers)[0], (typeof workers)[0]];
    first.beforeForward = (index) => {
      if (index === 4) first.lose(loss("unplugged"));
    };
    first.beforeRestart = () => restart.opened;
    await using engine = await createEngine({ worker: source, devices: [...devices], restarts: QUICK });
    const results = await Promise.all(REQUESTS.map((request) => engine.generate(request)));
    expect(results.map(({ tokens }) => tokens)).toEqual(expected.map(({ tokens }) => tokens));
    expect(engine.workers.map(({ state }) => state)).toEqual(["lost", "ready"]);
    expect(second.prompts.length).toBe(REQUESTS.length);
    restart.open();
    await engine.generate(REQUESTS[0]);
    expect(results.filter(({ stats }) => stats.restarts === 1)).toHaveLength(4);
  });

  test("have one fewer when one cannot be replaced, and the images fail only when none is left", async () => {
    const { source, devices, workers } = recordingTeam(STUB, 2);
    const warnings: string[] = [];
    const logger = { debug() {}, info() {}, warn: (message: string) => void warnings.push(message) };
    await using engine = await createEngine({
      worker: source,
      devices: [...devices],
      restarts: { max: 0, withinMs: 1000, backoffMs: 0 },
      logger,
    });
    workers[0]?.lose(loss("burnt"));
    const results = await Promise.all(REQUESTS.map((request) => engine.generate(request)));
    expect(results).toHaveLength(REQUESTS.length);
    expect(engine.workers.map(({ state }) => state)).toEqual(["gone", "ready"]);
    expect(warnings.some((message) => message.includes("one worker fewer: burnt"))).toBe(true);
    workers[1]?.lose(loss("burnt too"));
    const error = await ziparErrorOf(() => engine.generate(REQUESTS[0]));
    expect([error.code, error.message]).toEqual(["worker-died", "burnt too"]);
  });

  test("give nothing new to one that wants to leave, let it finish, and count no loss", async () => {
    const expected = await calmResults();
    const { source, devices, workers } = recordingTeam(STUB, 2);
    const [first, second] = workers as [(typeof workers)[0], (typeof workers)[0]];
    let promptsAtLeave = 0;
    first.beforeForward = (index) => {
      if (index !== 3) return;
      promptsAtLeave = first.prompts.length;
      first.leave();
    };
    first.beforeRestart = () => {
      expect(first.prompts).toHaveLength(promptsAtLeave);
      throw loss("nobody else has come");
    };
    await using engine = await createEngine({
      worker: source,
      devices: [...devices],
      maxImages: 2,
      restarts: { max: 0, withinMs: 1000, backoffMs: 0 },
    });
    const results = await Promise.all(REQUESTS.map((request) => engine.generate(request)));
    for (const [k, { tokens }] of expected.entries()) expect(results[k]?.tokens).toEqual(tokens);
    expect(promptsAtLeave).toBeGreaterThan(0);
    expect(first.prompts.length + second.prompts.length, "no image began twice").toBe(REQUESTS.length);
    expect(results.map(({ stats }) => stats.restarts)).toEqual(REQUESTS.map(() => 0));
    await engine.generate(REQUESTS[0]);
    await expect.poll(() => engine.workers.map(({ state }) => state)).toEqual(["gone", "ready"]);
    expect(first.startCount, "another was sought in its place, though no restarts are allowed").toBe(2);
  });

  test("are awaited again, with the next image, where nobody came into the place of one that left", async () => {
    const { source, devices, workers } = recordingTeam(STUB, 2);
    const [first, second] = workers as [(typeof workers)[0], (typeof workers)[0]];
    const nobody = () =>
      new ZiparError({ code: "worker-timeout", message: "nobody came", details: { nobodyCame: true } });
    let isThere = false;
    first.beforeForward = (index) => {
      if (index === 3) first.leave();
    };
    for (const worker of [first, second])
      worker.beforeRestart = () => {
        if (!isThere) throw nobody();
      };
    await using engine = await createEngine({
      worker: source,
      devices: [...devices],
      restarts: { max: 0, withinMs: 1000, backoffMs: 0 },
    });
    const states = () => engine.workers.map(({ state }) => state);
    const all = () => Promise.all(REQUESTS.map((request) => engine.generate(request)));
    await all();
    for (let k = 0; k < 3; k++) {
      await engine.generate(REQUESTS[0]);
      await expect.poll(states, { timeout: 5_000 }).toEqual(["gone", "ready"]);
    }
    isThere = true;
    first.beforeForward = () => {};
    await all();
    await expect.poll(states, { timeout: 5_000 }).toEqual(["ready", "ready"]);
    isThere = false;
    for (const worker of [first, second]) worker.beforeForward = () => worker.leave();
    // One of them may get no image at first.
    while (states().includes("ready"))
      for (const outcome of await Promise.allSettled(REQUESTS.map((request) => engine.generate(request))))
        if (outcome.status === "rejected") expect(outcome.reason).toMatchObject({ code: "worker-timeout" });
    const error = await ziparErrorOf(() => engine.generate(REQUESTS[0]));
    expect(error.code).toBe("worker-timeout");
  });

  test("hand the images of one that left too early to the others, and count no loss of theirs", async () => {
    const expected = await calmResults();
    const { source, devices, workers } = recordingTeam(STUB, 2);
    for (const worker of workers)
      worker.beforeForward = (index) => {
        if (index !== 6 && index !== 40) return;
        worker.leave();
        worker.lose(loss("its time was over"));
      };
    await using engine = await createEngine({
      worker: source,
      devices: [...devices],
      restarts: { max: 0, withinMs: 1000, backoffMs: 0 },
    });
    const results = await Promise.all(REQUESTS.map((request) => engine.generate(request)));
    for (const [k, { tokens }] of expected.entries()) expect(results[k]?.tokens).toEqual(tokens);
  });

  test("ask another one for the pixels of an image whose worker was lost", async () => {
    const { source, devices, workers } = recordingTeam(STUB, 2);
    const restart = gate();
    const asked = [0, 0];
    for (const [k, worker] of workers.entries()) {
      worker.beforeRestart = () => restart.opened;
      worker.beforeRequest = (kind) => {
        if (kind !== "picture") return;
        asked[k] = (asked[k] as number) + 1;
        if (asked[0] === 1 && asked[1] === 0) worker.lose();
      };
    }
    await using engine = await createEngine({ worker: source, devices: [...devices], restarts: QUICK });
    expect((await engine.generate(REQUESTS[0])).image.width).toBe(56);
    expect(asked).toEqual([1, 1]);
    restart.open();
  });

  test("share a queue whose limit counts the room of all of them", async () => {
    const { source, devices } = recordingTeam(STUB, 3);
    await using engine = await createEngine({
      worker: source,
      devices: [...devices],
      maxImages: 2,
      maxQueue: 1,
    });
    const generations = Array.from({ length: 7 }, (_, seed) =>
      engine.generate({ classLabel: 1, seed, guidanceScale: 2 }),
    );
    const error = await ziparErrorOf(() => engine.generate({ classLabel: 1, guidanceScale: 2 }));
    expect(error.code).toBe("queue-full");
    expect(await Promise.all(generations)).toHaveLength(7);
  });

  test("are all released when images are cancelled, and none of the others notices", async () => {
    const expected = await calmResults();
    const { source, devices, workers } = recordingTeam(STUB, 2);
    await using engine = await createEngine({ worker: source, devices: [...devices], maxImages: 2 });
    const abort = new AbortController();
    const doomed = REQUESTS.map((request) =>
      ziparErrorOf(() => engine.generate({ ...request, signal: abort.signal })),
    );
    const kept = REQUESTS.map((request) => engine.generate(request));
    for (const worker of workers)
      worker.beforeForward = (index) => {
        if (index === 3) abort.abort();
      };
    expect((await Promise.all(doomed)).map(({ code }) => code)).toEqual(REQUESTS.map(() => "cancelled"));
    const results = await Promise.all(kept);
    expect(results.map(({ tokens }) => tokens)).toEqual(expected.map(({ tokens }) => tokens));
    for (const { prompts, released } of workers) expect(released.toSorted()).toEqual(prompts.toSorted());
  });
});

describe("the start of several workers", () => {
  test("fails as a whole where one of them fails, and stops those that run", async () => {
    const { source, devices, workers } = recordingTeam(STUB, 3);
    const failing: typeof source = {
      open: async (options) => {
        const worker = await source.open(options);
        if (options.device !== "cuda:1") return worker;
        throw new ZiparError({ code: "device", message: "no such device" });
      },
    };
    const error = await ziparErrorOf(() => createEngine({ worker: failing, devices: [...devices] }));
    expect([error.code, error.message]).toEqual(["device", "no such device"]);
    expect(workers.map(({ stopCount }) => stopCount)).toEqual([1, 0, 1]);
  });

  test("refuses workers that hold different models, and two ways to say how many", async () => {
    const narrow = stubWorker({ ...STUB, columns: 4 });
    const mixed = {
      open: (options: Parameters<typeof narrow.open>[0]) =>
        (options.device === "cpu" ? stubWorker(STUB) : narrow).open(options),
    };
    const error = await ziparErrorOf(() => createEngine({ worker: mixed, devices: ["cpu", "cuda:0"] }));
    expect([error.code, error.message]).toEqual([
      "invalid-options",
      expect.stringContaining("has another model than the first one"),
    ]);
    for (const conflict of [{ workers: 2 }, { device: "cpu" }]) {
      const refused = await ziparErrorOf(() =>
        createEngine({ worker: stubWorker(STUB), devices: ["cpu"], ...conflict }),
      );
      expect(refused.message).toContain("leave `device` and `workers` out");
    }
  });

  test("keeps the place of one that never came, or could not join, for the next one", async () => {
    const comes = [
      async () => Promise.reject(new ZiparError({ code: "worker-timeout", message: "nobody came" })),
      stubWorker({ ...STUB, columns: 4 }).open,
      stubWorker(STUB).open,
    ];
    let openCount = 0;
    const source: WorkerSource = {
      open: (options) =>
        openCount++ === 0 ? stubWorker(STUB).open(options) : (comes.shift() as WorkerSource["open"])(options),
      count: { min: 1, max: 2 },
    };
    const warnings: string[] = [];
    const logger = { debug() {}, info() {}, warn: (message: string) => void warnings.push(message) };
    await using engine = await createEngine({ worker: source, logger });
    expect(engine.workers).toHaveLength(1);
    await expect.poll(() => engine.workers.map(({ state }) => state)).toEqual(["ready", "ready"]);
    expect(warnings).toEqual([
      "a worker could not join: nobody came",
      expect.stringContaining("a worker could not join: createEngine: the worker on stub has another model"),
    ]);
  });

  test("leaves it to remote workers how many there are", async () => {
    const worker = { listen: "tcp://127.0.0.1:0", token: "x".repeat(16) };
    const error = await ziparErrorOf(() => createEngine({ worker, workers: 2 }));
    expect([error.code, error.message]).toEqual([
      "invalid-options",
      expect.stringContaining("`min` and `max` beside `listen`"),
    ]);
  });

  test("of one device is asked for by their number", async () => {
    await using engine = await createEngine({ worker: stubWorker(STUB), workers: 3 });
    expect(engine.workers.map(({ device, state }) => `${device} ${state}`)).toEqual(
      new Array(3).fill("stub ready"),
    );
    expect((await engine.generate({ classLabel: 1 })).stats.tokens).toBe(35);
  });
});
