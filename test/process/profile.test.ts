import { beforeAll, expect, test } from "vitest";
import type { AttentionMasses } from "../../src/decode/worker.ts";
import { drawLocalitySvg } from "../../src/drawings/locality-svg.ts";
import { renderSvg } from "../../src/drawings/svg-png.ts";
import { profileLocality } from "../../src/profile/measure.ts";
import type { LocalityReport } from "../../src/profile/report.ts";
import { drawLocalityTable } from "../../src/profile/report-table.ts";
import { stubWorker } from "../../src/stub/source.ts";
import { pythonWorker } from "../../src/worker/local.ts";
import { tinyCheckpoint } from "../support/tiny-checkpoints.ts";

const settings = {
  seed: 4,
  windowQuantile: 0.95,
  prompts: [],
  engine: { device: "cpu", maxImages: 4 },
} as const;

let report: LocalityReport;
const images: AttentionMasses[] = [];

beforeAll(async () => {
  report = await profileLocality({
    ...settings,
    model: tinyCheckpoint("4x5"),
    samples: 3,
    worker: {
      async open(options) {
        const worker = await pythonWorker().open(options);
        const profile = worker.profile.bind(worker);
        worker.profile = async (...image) => {
          const masses = await profile(...image);
          images.push(masses);
          return masses;
        };
        return worker;
      },
    },
  });
});

test("the masses of every head of a real checkpoint sum to 1 with the prompt's share", () => {
  expect(images).toHaveLength(3);
  for (const { layers, heads, mass, otherMass } of images) {
    expect([layers, heads, mass.length]).toEqual([2, 4, 2 * 4 * 4 * 9]);
    for (let head = 0; head < layers * heads; head++) {
      const own = mass.subarray(head * 4 * 9, (head + 1) * 4 * 9);
      expect(own.reduce((sum, share) => sum + share, 0) + (otherMass[head] as number)).toBeCloseTo(1, 5);
      expect(own.subarray(4, 9).every((share) => share === 0)).toBe(true); // nobody sees its own cell or what follows
    }
  }
});

test("a row start pays the row above no more than all image cells, and the first one all of it", () => {
  for (const { rowStartMass, rowStartTotal } of images) {
    for (const [k, total] of rowStartTotal.entries()) {
      const above = rowStartMass.subarray(5 * k, 5 * k + 5).reduce((sum, share) => sum + share, 0);
      if (k < 8) expect(above).toBeCloseTo(total, 5);
      else expect(above).toBeLessThan(total);
    }
  }
});

test("the report has a window for each row after the first, a table and a picture", async () => {
  expect(report).toMatchObject({
    samples: 3,
    rows: 4,
    columns: 5,
    layers: 2,
    heads: 4,
    windowQuantile: 0.95,
  });
  expect(report.windows.map(({ row }) => row)).toEqual([1, 2, 3]);
  for (const { p50, p90, max } of report.windows) {
    expect([p50, p90, max].every((window) => window >= 1 && window <= 5)).toBe(true);
    expect(p50 <= p90 && p90 <= max).toBe(true);
  }
  expect(drawLocalityTable(report)).toContain(`Suggested window: ${report.suggestedWindow} of 5 columns`);
  const svg = drawLocalitySvg(report);
  expect(svg).not.toContain("NaN");
  expect((await (await renderSvg(svg)).metadata()).width).toBeGreaterThan(400);
});

test("a model without attention, and prompts for one with classes, are refused", async () => {
  const stub = { ...settings, model: "stub", samples: 1, worker: stubWorker({ rows: 2, columns: 2 }) };
  await expect(profileLocality(stub)).rejects.toThrow("no attention to profile");
  await expect(profileLocality({ ...stub, prompts: ["a cat"] })).rejects.toThrow("leave --prompt out");
});
