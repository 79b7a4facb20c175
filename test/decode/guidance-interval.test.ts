import fc from "fast-check";
import { describe, expect, test } from "vitest";
import {
  createEngine,
  type GenerateOptions,
  parseTrace,
  plan,
  replayTrace,
  stubWorker,
} from "../../src/index.ts";
import { isWithin } from "../../src/schedule/guidance-interval.ts";
import { guidanceWorker } from "../support/guidance-worker.ts";
import { runs } from "../support/property-runs.ts";

const ROWS = 5;
const COLUMNS = 7;
const CELLS = ROWS * COLUMNS;

/** The shares of decoded cells before each forward of a fixed window, from the plan alone. */
function sharesBefore(window: number): number[] {
  const { forwards, steps } = plan({ rows: ROWS, columns: COLUMNS, window });
  return Array.from({ length: forwards }, (_, k) => steps.filter((step) => step < k + 1).length / CELLS);
}

test("guidance is on from the first share up to, and without, the second", () => {
  const at = (decodedCount: number, from: number, to: number) => isWithin([from, to], decodedCount / 10);
  expect([at(0, 0, 1), at(9, 0, 1)]).toEqual([true, true]);
  expect([at(1, 0.2, 0.8), at(2, 0.2, 0.8), at(7, 0.2, 0.8), at(8, 0.2, 0.8)]).toEqual([
    false,
    true,
    true,
    false,
  ]);
});

describe("on the stub, which refuses a slot that a branch was never fed", () => {
  const request = {
    classLabel: 3,
    window: 3,
    seed: 1,
    lookahead: 0,
    guidanceScale: 2,
    image: false,
  } as const;

  test("branches outside of the interval are not in the batch, and are rebuilt once", async () => {
    const worker = guidanceWorker(stubWorker({ rows: ROWS, columns: COLUMNS, codeCount: 50 }), 2);
    await using engine = await createEngine({ worker: worker.source });
    const interval = [0.3, 0.7] as const;
    const { stats } = await engine.generate({ ...request, guidanceInterval: interval });
    const images = worker.forwards.map(([image]) => image);
    const rebuilds = images.filter((image) => image?.rebuilds);
    const steps = images.filter((image) => !image?.rebuilds);
    const guided = sharesBefore(3).map((share) => interval[0] <= share && share < interval[1]);
    expect(steps.map((image) => image?.branches)).toEqual(guided.map((on) => (on ? [0, 1] : [0])));
    expect(stats.forwards).toBe(steps.length);
    expect(new Set(rebuilds.map((image) => String(image?.branches)))).toEqual(new Set(["1"]));
    expect(rebuilds.length).toBeLessThanOrEqual(ROWS);
    const batchRows = images.reduce((count, image) => count + (image?.branches.length ?? 0), 0);
    const guidedCount = guided.filter(Boolean).length;
    expect(batchRows).toBe(steps.length + guidedCount + rebuilds.length);
    expect(batchRows).toBeLessThan(2 * steps.length);
  });

  test("guidance from the start up to a share needs no rebuilding", async () => {
    const worker = guidanceWorker(stubWorker({ rows: ROWS, columns: COLUMNS, codeCount: 50 }), 2);
    await using engine = await createEngine({ worker: worker.source });
    await engine.generate({ ...request, guidanceInterval: [0, 0.5] });
    expect(worker.forwards.flat().some(({ rebuilds }) => rebuilds)).toBe(false);
    expect(worker.forwards.at(-1)).toMatchObject([{ branches: [0] }]);
  });

  test("without guidance, or without an interval, nothing is left out and nothing rebuilt", async () => {
    const worker = guidanceWorker(stubWorker({ rows: ROWS, columns: COLUMNS, codeCount: 50 }), 2);
    await using engine = await createEngine({ worker: worker.source });
    await engine.generate({ ...request, guidanceScale: 1, guidanceInterval: [0.3, 0.7] });
    expect(new Set(worker.forwards.flat().map(({ branches }) => String(branches)))).toEqual(new Set(["0"]));
    worker.forwards.length = 0;
    await engine.generate(request);
    expect(new Set(worker.forwards.flat().map(({ branches }) => String(branches)))).toEqual(new Set(["0,1"]));
  });

  test("a trace names the interval, where there is one, and replays", async () => {
    await using engine = await createEngine({ worker: stubWorker({ rows: ROWS, columns: COLUMNS }) });
    for (const guidanceInterval of [[0.3, 0.7], undefined] as const) {
      const lines: string[] = [];
      const trace = (line: string) => lines.push(line);
      await engine.generate({ ...request, trace, ...(guidanceInterval ? { guidanceInterval } : {}) });
      const recorded = await parseTrace(lines);
      expect(recorded.header.guidanceInterval).toEqual(guidanceInterval);
      expect(replayTrace(recorded).forwards).toBe(plan({ rows: ROWS, columns: COLUMNS, window: 3 }).forwards);
    }
  });

  test("in any company, window and interval, an image is the one whose branches run all along", async () => {
    const share = fc.integer({ min: 0, max: 10 });
    const window = fc.constantFrom<GenerateOptions["window"]>(1, 3, "full", "adaptive", {
      kind: "adaptive",
      min: 1,
      verification: "sequential",
    });
    const images = fc.array(fc.tuple(share, share, window, fc.nat(9)), { minLength: 1, maxLength: 4 });
    const rowEnd = fc.constantFrom("none" as const, "token" as const);
    await fc.assert(
      fc.asyncProperty(images, rowEnd, fc.boolean(), async (images, rowEnd, refreshRowEnds) => {
        const worker = guidanceWorker(stubWorker({ rows: ROWS, columns: COLUMNS, codeCount: 50, rowEnd }), 2);
        await using engine = await createEngine({ worker: worker.source, maxImages: 3 });
        const generateAll = () =>
          Promise.all(
            images.map(async ([a, b, window, seed]) => {
              const interval = [Math.min(a, b) / 11, (Math.max(a, b) + 1) / 11] as const;
              const options = { ...request, window, seed, refreshRowEnds } as GenerateOptions;
              return (await engine.generate({ ...options, guidanceInterval: interval })).tokens;
            }),
          );
        const dropped = await generateAll();
        worker.runsAll = true;
        expect(dropped).toEqual(await generateAll());
      }),
      { numRuns: runs(40) },
    );
  });
});
