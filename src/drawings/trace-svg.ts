import type { Trace } from "../trace/format.ts";
import {
  type FedKind,
  guessesOf,
  scheduleOf,
  summarizeTrace,
  type TraceSummary,
  timingOf,
  titleOf,
} from "../trace/summary.ts";
import { FONT_FAMILY } from "./font.ts";
import { roundCoordinate, svgLabel } from "./svg-label.ts";
import { wavefrontCells } from "./wavefront-svg.ts";

const PADDING = 16;
const HEADER = 104;
const PANEL_GAP = 36;
/** Room for the line above the grid. */
const MIN_GRID_WIDTH = 300;
const BARS_WIDTH = 250;
const CHART_HEIGHT = 130;
/** Wide enough for the three lines above the pictures. */
const MIN_WIDTH = 800;
const FAINT = "#57606a";

/** The prefill is left out of the chart: a long prompt would dwarf everything after it. */
const KINDS: readonly (readonly [FedKind, string, string])[] = [
  ["ordinary", "#213c78", "newest token of a row"],
  ["row-start", "#2f9e77", "row start"],
  ["surrogate", "#8fd0b5", "surrogate row start"],
  ["draft", "#d1242f", "draft"],
  ["refresh", "#e2a336", "refresh"],
  ["guess-held", "#7aa2f7", "guess that held"],
  ["guess-fell", "#d0d7de", "guess that fell"],
];

/**
 * A trace in one picture: the wavefront, beside each row the window at which it opened, and below them the queries of
 * each forward.
 */
export function drawTraceSvg(trace: Trace): string {
  const summary = summarizeTrace(trace);
  const { rows, columns, forwards } = summary;
  const cell = Math.max(3, Math.min(22, Math.floor(540 / columns)));
  const barsLeft = PADDING + Math.max(columns * cell, MIN_GRID_WIDTH) + PANEL_GAP;
  const width = Math.max(MIN_WIDTH, barsLeft + BARS_WIDTH + PADDING);
  const chartTop = HEADER + rows * cell + 58;
  const height = chartTop + CHART_HEIGHT + 34;
  const shown = Math.max(1, Math.round(forwards / 2));
  const place = { left: barsLeft, top: HEADER, cell, width: BARS_WIDTH - 80 };
  return [
    `<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 ${width} ${height}" width="${width}" height="${height}" font-family="${FONT_FAMILY}, system-ui, sans-serif" font-size="11">`,
    `<rect width="${width}" height="${height}" fill="#ffffff"/>`,
    svgLabel(PADDING, 22, titleOf(trace), `font-size="13"`),
    svgLabel(PADDING, 42, scheduleOf(trace, summary)),
    svgLabel(PADDING, 60, `${verdictsOf(trace, summary)}${timingOf(summary)}`, `fill="${FAINT}"`),
    svgLabel(
      PADDING,
      HEADER - 10,
      `Forward that decoded each cell; outlined: forward ${shown}`,
      `fill="${FAINT}"`,
    ),
    ...wavefrontCells(summary, { x: PADDING, y: HEADER, cell, shown }),
    svgLabel(barsLeft, HEADER - 10, "Window at which each row opened", `fill="${FAINT}"`),
    ...windowBars(summary, place),
    ...queryChart(summary, { left: PADDING + 24, top: chartTop, width: width - 2 * PADDING - 24 }),
    "</svg>",
    "",
  ].join("\n");
}

function verdictsOf({ header }: Trace, summary: TraceSummary): string {
  if (header.window.kind === "adaptive")
    return `${summary.draftCount} drafts, ${summary.rejectedCount} rejected; `;
  return summary.guessCount === 0 ? "" : `${guessesOf(summary)}; `;
}

/** One bar beside each row of the grid. Rows too thin for text have bars alone, with the widest one's value below. */
function windowBars(
  { openedAt, rejectedIn }: TraceSummary,
  { left, top, cell, width }: { left: number; top: number; cell: number; width: number },
): readonly string[] {
  const opened = openedAt.filter((window) => window > 0);
  const widest = Math.max(1, ...opened);
  const thickness = cell - (cell < 8 ? 0.5 : 2);
  const bars = openedAt.map((window, k) => {
    if (window === 0) return "";
    const y = top + (k + 1) * cell;
    const length = roundCoordinate((window / widest) * width);
    const bar = `<rect x="${left}" y="${y}" width="${length}" height="${thickness}" fill="#213c78"/>`;
    if (cell < 11) return bar;
    const rejected = rejectedIn[k] === 0 ? "" : `, ${rejectedIn[k]} rejected`;
    return bar + svgLabel(left + length + 6, y + thickness / 2 + 4, `${window}${rejected}`, `font-size="10"`);
  });
  if (cell >= 11) return bars;
  const range = `longest bar: window ${widest}; shortest: ${Math.min(widest, ...opened)}`;
  return [...bars, svgLabel(left, top + (openedAt.length + 1) * cell + 14, range, `fill="${FAINT}"`)];
}

/** Stacked columns, one per forward after the prefill. */
function queryChart(
  { queryCounts, forwards, maxQueries, prefixRows }: TraceSummary,
  { left, top, width }: { left: number; top: number; width: number },
): readonly string[] {
  const slot = width / Math.max(1, forwards);
  const scale = CHART_HEIGHT / Math.max(1, maxQueries);
  const bottom = top + CHART_HEIGHT;
  const columns = queryCounts.slice(1).flatMap((counts, k) => {
    let y = bottom;
    return KINDS.filter(([kind]) => counts[kind] > 0).map(([kind, color]) => {
      const size = counts[kind] * scale;
      y -= size;
      const x = left + (k + 1) * slot;
      return `<rect x="${roundCoordinate(x)}" y="${roundCoordinate(y)}" width="${roundCoordinate(slot < 4 ? slot : slot * 0.9)}" height="${roundCoordinate(size)}" fill="${color}"/>`;
    });
  });
  const used = KINDS.filter(([kind]) => queryCounts.some((counts) => counts[kind] > 0));
  const prefill = queryCounts[0]?.prompt ?? 0;
  return [
    svgLabel(
      PADDING,
      top - 28,
      prefixRows > 0
        ? "Queries per forward after the first one"
        : `Queries per forward; the first one, the prefill, has ${prefill}`,
      `fill="${FAINT}"`,
    ),
    ...used.map(([, color, name], k) => legendEntry(PADDING + k * 128, top - 20, color, name)),
    `<g shape-rendering="crispEdges">`,
    ...columns,
    "</g>",
    `<path d="M${left} ${top}V${bottom}H${left + width}" fill="none" stroke="#8c959f"/>`,
    svgLabel(left - 5, top + 8, String(maxQueries), `text-anchor="end" font-size="10"`),
    svgLabel(left - 5, bottom, "0", `text-anchor="end" font-size="10"`),
    svgLabel(left, bottom + 14, "1", `font-size="10"`),
    svgLabel(left + width, bottom + 14, `forward ${forwards}`, `text-anchor="end" font-size="10"`),
  ];
}

function legendEntry(x: number, y: number, color: string, name: string): string {
  return `<rect x="${x}" y="${y}" width="9" height="9" fill="${color}"/>${svgLabel(x + 13, y + 8.5, name, `font-size="10"`)}`;
}
