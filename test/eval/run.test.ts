import { mkdtempSync, readFileSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { afterEach, beforeEach, describe, expect, test } from "vitest";
import type { WindowOption } from "../../src/api/window-name.ts";
import { readWindows } from "../../src/cli/read-values.ts";
import { drawFidelitySvg } from "../../src/drawings/fidelity-svg.ts";
import { renderSvg } from "../../src/drawings/svg-png.ts";
import { readPictures } from "../../src/eval/picture-set.ts";
import { drawReportTable } from "../../src/eval/report-table.ts";
import { type EvaluateOptions, evaluate } from "../../src/eval/run.ts";
import { ziparErrorOf } from "../support/errors.ts";
import { type RecordingWorker, recordingWorker } from "../support/recording-worker.ts";

const stub = { rows: 6, columns: 8, reach: 3 } as const;

let folder: string;
let worker: RecordingWorker;
beforeEach(() => {
  folder = mkdtempSync(join(tmpdir(), "zipar-eval-"));
  worker = recordingWorker(stub);
});
afterEach(() => rmSync(folder, { recursive: true, force: true }));

function request(windows: string, changes: Partial<EvaluateOptions> = {}): EvaluateOptions {
  return {
    model: "stub",
    samplesPerClass: 2,
    windows: readWindows(windows) as WindowOption[],
    lookahead: 0,
    variants: false,
    classes: [0, 4, 7],
    seed: 1,
    folder,
    engine: { maxImages: 4 },
    worker: worker.source,
    ...changes,
  };
}

/** Calls every picture right, and names each set's number as its distance. */
const judge: NonNullable<EvaluateOptions["judge"]> = async (sets) => {
  const verdict = (frechet: number) => ({
    correct: [1, 1, 1, 1, 1, 1],
    frechet,
    frechetResamples: [frechet, frechet + 1],
  });
  return { sets: sets.map((_, k) => verdict(k)), drawn: verdict(0), reconstructed: verdict(0.5) };
};

describe("on the stub", () => {
  test("greedy agreement is 1 for windows of at least the reach, and less below it", async () => {
    const { report } = await evaluate(request("full,8,4,3,2,1"));
    expect(report.settings.map(({ window }) => window)).toEqual(["full", 8, 4, 3, 2, 1]);
    expect(report.settings.slice(0, 4).map(({ greedyAgreement }) => greedyAgreement)).toEqual([1, 1, 1, 1]);
    for (const { greedyAgreement } of report.settings.slice(4)) expect(greedyAgreement).toBeLessThan(0.9);
  });

  test("forwards are those of the schedule, and images of enough window have next-token order's bits", async () => {
    const { report } = await evaluate(request("full,3,1,adaptive:3"));
    const [full, enough, small, adaptive] = report.settings;
    expect(full?.forwards).toBe(48);
    expect(enough?.forwards).toBe(8 + 5 * 3);
    expect(enough?.errors.forwards).toBe(0);
    expect(enough?.differences).toMatchObject({ bitsPerToken: 0, errors: { bitsPerToken: 0 } });
    expect(small?.bitsPerToken).toBeGreaterThan(full?.bitsPerToken as number);
    expect(adaptive?.openedAt).toBeGreaterThanOrEqual(3);
  });

  test("a model that is not judged reports null, and says so in the table", async () => {
    const { report } = await evaluate(request("full,2"));
    expect(report.settings.map(({ accuracy, frechet }) => [accuracy, frechet])).toEqual([
      [null, null],
      [null, null],
    ]);
    expect(report.drawn).toBeNull();
    expect(drawReportTable(report)).toContain("full (next-token order)");
  });

  test("pictures reach the judge in the order of the settings, the same classes in all of them", async () => {
    const seen: string[] = [];
    const { report, pictureSets } = await evaluate(
      request("full,2", {
        judge: async (sets) => {
          seen.push(...sets);
          return judge(sets);
        },
      }),
    );
    expect(seen).toEqual(pictureSets);
    const [first] = readPictures(seen[0] as string, 99);
    expect(readPictures(seen[0] as string, 99)).toHaveLength(6);
    expect([first?.width, first?.height]).toEqual([64, 48]);
    expect(report.settings.map(({ accuracy, frechet }) => [accuracy, frechet])).toEqual([
      [1, 0],
      [1, 1],
    ]);
    expect(report.settings[1]?.differences).toMatchObject({ accuracy: 0, frechet: 1 });
    expect(report.reconstructed?.frechet).toBe(0.5);
  });

  test("variants stand beside the setting that they vary", async () => {
    const { report } = await evaluate(request("full,2,adaptive:2", { variants: true }));
    expect(
      report.settings.filter(({ variant }) => variant !== undefined).map(({ variant }) => variant),
    ).toEqual([
      { surrogate: "above" },
      { surrogate: "newest" },
      { verification: "sequential" },
      { test: "coupled" },
    ]);
    expect(drawReportTable(report)).toContain("| 2, surrogate above");
  });

  test("lookahead takes fewer forwards for the same pictures, and stands in the table beside its window", async () => {
    const { report, pictureSets } = await evaluate(request("full,guessed:2", { judge, lookahead: 9 }));
    const [full, looking, guessed] = report.settings;
    expect(looking?.variant).toEqual({ lookahead: 9 });
    expect(looking?.forwards).toBeLessThan(full?.forwards as number);
    expect(looking?.bitsPerToken).toBe(full?.bitsPerToken);
    expect(readFileSync(pictureSets[1] as string)).toEqual(readFileSync(pictureSets[0] as string));
    expect(guessed?.window).toBe("guessed:2");
    expect(drawReportTable(report)).toMatch(/\| full \(next-token order\).*\n\| full, lookahead 9 /);
  });

  test("the plot has a curve for each kind of window, and becomes a picture", async () => {
    const windows = "full,4,2,guessed:2,adaptive:1,adaptive:2";
    const { report } = await evaluate(request(windows, { judge, lookahead: 5 }));
    const svg = drawFidelitySvg(report);
    const points = (color: string) => svg.match(new RegExp(`<circle[^>]*r="3.2" fill="${color}"`, "g"));
    expect(points("#213c78")).toHaveLength(4 * 3);
    expect(points("#2f9e77")).toHaveLength(4 * 3);
    expect(points("#e2a336")).toHaveLength(4 * 1);
    expect(points("#d1242f")).toHaveLength(4 * 2);
    const { width, height } = await (await renderSvg(svg)).metadata();
    expect(width).toBeGreaterThan(800);
    expect(height).toBeGreaterThan(500);
  });

  test("classes that the model does not have are refused", async () => {
    const error = await ziparErrorOf(() => evaluate(request("full", { classes: [1000] })));
    expect(error.code).toBe("invalid-options");
    expect(error.message).toContain("0 to 999");
  });
});

describe("resuming", () => {
  test("an evaluation that is done runs nothing again and reports the same", async () => {
    const first = await evaluate(request("full,2,adaptive:1", { judge }));
    const forwardCount = worker.batches.length;
    const outcomes: string[] = [];
    const second = await evaluate(
      request("full,2,adaptive:1", { judge, onSetting: (_, outcome) => outcomes.push(outcome) }),
    );
    expect(worker.batches.length).toBe(forwardCount);
    expect(outcomes).toEqual(["found", "found", "found"]);
    expect(second.report).toEqual(first.report);
  });

  test("after an interruption only what was not done is measured, with the same result as in one go", async () => {
    const abort = new AbortController();
    const interrupted = evaluate(
      request("full,4,2", { signal: abort.signal, onSetting: (setting) => setting === "4" && abort.abort() }),
    );
    expect((await ziparErrorOf(() => interrupted)).code).toBe("cancelled");
    const outcomes: [string, string][] = [];
    const resumed = await evaluate(
      request("full,4,2", { onSetting: (...outcome) => outcomes.push([outcome[0], outcome[1]]) }),
    );
    expect(outcomes).toEqual([
      ["full", "found"],
      ["4", "found"],
      ["2", "measured"],
    ]);
    const fresh = mkdtempSync(join(tmpdir(), "zipar-eval-"));
    const whole = await evaluate(request("full,4,2", { folder: fresh }));
    rmSync(fresh, { recursive: true });
    expect(withoutTimes(resumed.report)).toEqual(withoutTimes(whole.report));
  });

  test("a worker that is lost between two settings is replaced, and the report is the same", async () => {
    const calm = await evaluate(request("full,2"));
    rmSync(folder, { recursive: true });
    const onSetting = (setting: string) => setting === "full" && worker.lose();
    const shaken = await evaluate(request("full,2", { onSetting }));
    expect(worker.startCount).toBe(3);
    expect(withoutTimes(shaken.report)).toEqual(withoutTimes(calm.report));
  });

  test("other parameters begin anew", async () => {
    await evaluate(request("full"));
    const outcomes: string[] = [];
    const onSetting = (_: string, outcome: string) => outcomes.push(outcome);
    await evaluate(request("full", { seed: 2, onSetting }));
    await evaluate(request("full", { samplesPerClass: 3, onSetting }));
    expect(outcomes).toEqual(["measured", "measured"]);
  });
});

test("a set of pictures is a safetensors file", async () => {
  const { pictureSets } = await evaluate(request("full"));
  const file = readFileSync(pictureSets[0] as string);
  const headerLength = Number(file.readBigUInt64LE());
  const header = JSON.parse(file.subarray(8, 8 + headerLength).toString());
  expect(headerLength % 8).toBe(0);
  expect(header.pictures).toMatchObject({ dtype: "U8", shape: [6, 48, 64, 3] });
  expect(file.length).toBe(8 + headerLength + header.pictures.data_offsets[1]);
  const labels = Array.from({ length: 6 }, (_, k) => file.readInt32LE(8 + headerLength + 4 * k));
  expect(labels).toEqual([0, 4, 7, 0, 4, 7]);
});

function withoutTimes(report: Awaited<ReturnType<typeof evaluate>>["report"]) {
  return { ...report, settings: report.settings.map((setting) => ({ ...setting, wallMs: 0 })) };
}
