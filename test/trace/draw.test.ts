import { expect, test } from "vitest";
import { describeTrace } from "../../src/cli/trace-text.ts";
import { renderLabel } from "../../src/drawings/label.ts";
import { renderSvg } from "../../src/drawings/svg-png.ts";
import { drawTraceSvg } from "../../src/drawings/trace-svg.ts";
import { parseTrace } from "../../src/trace/read.ts";
import { summarizeTrace } from "../../src/trace/summary.ts";
import { recordTrace, traceOf } from "../support/record-trace.ts";

const STUB = { rows: 6, columns: 12, reach: 3, seed: 4, codeCount: 50 } as const;
const adaptive = { kind: "adaptive", min: 1 } as const;

test("the terminal shows the forward of each cell, windows, drafts and times", async () => {
  const trace = await traceOf(STUB, { window: adaptive, temperature: 0 });
  await expect(`${describeTrace(trace, 100)}\n`).toMatchFileSnapshot("../traces/drawn-adaptive-6x12.txt");
});

test("a fixed window is told once, and undecoded cells of a run that stopped are dots", async () => {
  const lines = await recordTrace({ rows: 4, columns: 6 }, { window: 2 });
  const trace = await parseTrace(lines.slice(0, 7));
  await expect(`${describeTrace(trace, 100)}\n`).toMatchFileSnapshot("../traces/drawn-stopped-4x6.txt");
});

test("windows in the summary are those that the engine reports", async () => {
  const { createEngine, stubWorker } = await import("../../src/index.ts");
  const lines: string[] = [];
  await using engine = await createEngine({ worker: stubWorker(STUB) });
  const { adaptive: report } = await engine.generate({
    classLabel: 3,
    window: adaptive,
    image: false,
    trace: (line) => lines.push(line),
  });
  const { openedAt, draftCount, rejectedCount } = summarizeTrace(await parseTrace(lines));
  expect({ openedAt, draftCount, rejectedCount }).toEqual({
    openedAt: report?.openedAt,
    draftCount: report?.draftCount,
    rejectedCount: report?.rejectedCount,
  });
});

test("guesses are counted, and stacked by what became of them", async () => {
  const stub = { rows: 6, columns: 12, codeCount: 3, reach: 2 } as const;
  const trace = await traceOf(stub, { window: 4, lookahead: 6 });
  const { guessCount, heldCount, queryCounts, openedAt, forwards } = summarizeTrace(trace);
  expect(heldCount).toBeGreaterThan(0);
  expect(guessCount).toBeGreaterThan(heldCount);
  const total = (kind: "guess-held" | "guess-fell") =>
    queryCounts.reduce((sum, counts) => sum + counts[kind], 0);
  expect([total("guess-held"), total("guess-fell")]).toEqual([heldCount, guessCount - heldCount]);
  expect(openedAt).toEqual([4, 4, 4, 4, 4]);
  expect(forwards).toBeLessThan(12 + 5 * 4);
  expect(describeTrace(trace, 100)).toContain(`lookahead: ${heldCount} of ${guessCount} guesses held`);
  expect(drawTraceSvg(trace)).toContain("guess that fell");
});

test("the picture names the run, outlines one forward and stacks the queries of the others", async () => {
  const svg = drawTraceSvg(await traceOf(STUB, { window: adaptive, temperature: 0 }));
  expect(svg).toContain("stub, class 3, seed 5");
  expect(svg.match(/stroke="#d1242f"/g)?.length).toBeGreaterThan(0);
  expect(svg).toContain("surrogate row start");
  expect(svg).not.toContain("NaN");
});

// `vitest.config.ts` takes the fonts of the machine away.
test("text in a PNG does not need a font on the machine", async () => {
  const [narrow, wide] = [await renderLabel("iii", 12), await renderLabel("WWW", 12)];
  expect(wide.width, "a machine without the font draws boxes of one size").toBeGreaterThan(2 * narrow.width);
  const draw = async (text: string) => {
    const svg =
      `<svg xmlns="http://www.w3.org/2000/svg" width="120" height="40" font-family="DejaVu Sans">` +
      `<rect width="120" height="40" fill="#fff"/><text x="4" y="28" font-size="20">${text}</text></svg>`;
    const { info } = await (await renderSvg(svg)).trim().png().toBuffer({ resolveWithObject: true });
    return info.width;
  };
  expect(await draw("WWW")).toBeGreaterThan(2 * (await draw("iii")));
});
