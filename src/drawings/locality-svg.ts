import type { LocalityReport } from "../profile/report.ts";
import { FONT_FAMILY } from "./font.ts";
import { INK, roundCoordinate, svgLabel } from "./svg-label.ts";

const FAINT = "#57606a";
const GRID = "#eaeef2";
const PADDING = 16;
const TOP = 62;
/** Roughly: cells have whole pixels, or gaps would show between them. */
const MAP_WIDTH = 520;
const AXIS = 44;
const CHART = { width: 360, height: 250 };
/** Shares below the largest one divided by this are drawn as nothing. */
const DYNAMIC_RANGE = 1000;
/** Rows up that the map shows; what lies higher is in the JSON. */
const MAX_ROWS_UP = 32;
/** From nothing to much. */
const SCALE = [
  [250, 250, 245],
  [250, 220, 130],
  [214, 92, 60],
  [60, 20, 80],
] as const;
const LINES = [
  { name: "p50 of heads", key: "p50", color: "#213c78", dash: "" },
  { name: "p90 of heads", key: "p90", color: "#d1242f", dash: "" },
  { name: "mean attention", key: "mean", color: "#2da44e", dash: "" },
  { name: "if attention were spread evenly", key: "even", color: FAINT, dash: "2 3" },
] as const;

/** Mean attention by offset from the predicted cell, in logarithmic colours, beside the smallest window of each row. */
export function drawLocalitySvg(report: LocalityReport): string {
  const { model, samples, rows, columns, layers, heads } = report;
  const cell = Math.min(32, Math.max(2, Math.round(MAP_WIDTH / (2 * columns - 1))));
  const mapWidth = cell * (2 * columns - 1);
  const shownRows = Math.min(rows, MAX_ROWS_UP);
  const chartLeft = PADDING + AXIS + Math.max(mapWidth, 460) + 70;
  const width = chartLeft + CHART.width + PADDING;
  const height = TOP + Math.max(cell * shownRows + 96, CHART.height + 130);
  const title =
    `${model}: attention of ${layers} layers x ${heads} heads over ${rows} x ${columns} tokens, ` +
    `${samples} images in next-token order`;
  return [
    `<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 ${roundCoordinate(width)} ${roundCoordinate(height)}" width="${roundCoordinate(width)}" height="${roundCoordinate(height)}" font-family="${FONT_FAMILY}, system-ui, sans-serif" font-size="10">`,
    `<rect width="${roundCoordinate(width)}" height="${roundCoordinate(height)}" fill="#ffffff"/>`,
    svgLabel(PADDING, 24, title, `font-size="13"`),
    ...drawMap(report, { left: PADDING + AXIS, top: TOP, cell, shownRows }),
    ...drawWindows(report, { left: chartLeft, top: TOP }),
    "</svg>",
    "",
  ].join("\n");
}

function drawMap(
  { map, columns }: LocalityReport,
  { left, top, cell, shownRows }: { left: number; top: number; cell: number; shownRows: number },
): readonly string[] {
  const largest = Math.max(...map.flat());
  const cells = map.slice(0, shownRows).flatMap((shares, up) =>
    shares.map((share, k) => {
      // the own row is the lowest, as in the picture
      const y = top + (shownRows - 1 - up) * cell;
      return `<rect x="${roundCoordinate(left + k * cell)}" y="${roundCoordinate(y)}" width="${roundCoordinate(cell)}" height="${roundCoordinate(cell)}" fill="${color(share / largest)}"/>`;
    }),
  );
  const bottom = top + shownRows * cell;
  const mapWidth = cell * (2 * columns - 1);
  const predicted = { x: left + (columns - 1) * cell, y: bottom - cell };
  const step = tickStep(columns - 1, 4);
  const columnTicks = ticks(columns - 1, step).flatMap((tick) => (tick === 0 ? [0] : [-tick, tick]));
  return [
    svgLabel(
      left,
      top - 12,
      "share of a query's attention, by offset from the cell that it predicts",
      `font-size="11"`,
    ),
    `<g shape-rendering="crispEdges">`,
    ...cells,
    "</g>",
    `<rect x="${roundCoordinate(left)}" y="${roundCoordinate(top)}" width="${mapWidth}" height="${roundCoordinate(bottom - top)}" fill="none" stroke="#8c959f"/>`,
    `<rect x="${roundCoordinate(predicted.x)}" y="${roundCoordinate(predicted.y)}" width="${roundCoordinate(cell)}" height="${roundCoordinate(cell)}" fill="none" stroke="#2da44e" stroke-width="2"/>`,
    ...columnTicks.map((tick) =>
      svgLabel(
        predicted.x + (tick + 0.5) * cell,
        bottom + 14,
        tick > 0 ? `+${tick}` : String(tick),
        `text-anchor="middle" fill="${FAINT}"`,
      ),
    ),
    svgLabel(
      left + mapWidth / 2,
      bottom + 29,
      "columns to the right",
      `text-anchor="middle" fill="${FAINT}"`,
    ),
    ...ticks(shownRows - 1, tickStep(shownRows - 1, 4)).map((tick) =>
      svgLabel(
        left - 6,
        bottom - (tick + 0.5) * cell + 3.5,
        String(tick),
        `text-anchor="end" fill="${FAINT}"`,
      ),
    ),
    `<g transform="translate(${roundCoordinate(left - 30)} ${roundCoordinate((top + bottom) / 2)}) rotate(-90)">${svgLabel(0, 0, "rows up", `text-anchor="middle" fill="${FAINT}"`)}</g>`,
    ...drawScale(left, bottom + 44, largest),
  ];
}

function drawScale(left: number, top: number, largest: number): readonly string[] {
  const stepCount = 60;
  const decades = Math.log10(DYNAMIC_RANGE);
  return [
    ...Array.from({ length: stepCount }, (_, k) => {
      const share = DYNAMIC_RANGE ** ((k + 0.5) / stepCount - 1);
      return `<rect x="${roundCoordinate(left + k * 4)}" y="${roundCoordinate(top)}" width="4.3" height="10" fill="${color(share)}"/>`;
    }),
    ...Array.from({ length: decades + 1 }, (_, decade) => {
      const share = largest / DYNAMIC_RANGE ** (1 - decade / decades);
      const text = `${(100 * share).toPrecision(2)} %`;
      return svgLabel(
        left + (decade / decades) * stepCount * 4,
        top + 24,
        text,
        `text-anchor="middle" fill="${FAINT}"`,
      );
    }),
    svgLabel(left + stepCount * 4 + 20, top + 9, "outlined: the predicted cell", `fill="${FAINT}"`),
  ];
}

function drawWindows(
  { windows, columns, rows, windowQuantile, suggestedWindow }: LocalityReport,
  { left, top }: { left: number; top: number },
): readonly string[] {
  const bottom = top + CHART.height;
  const right = left + CHART.width;
  const x = (row: number) => left + (rows <= 2 ? 0.5 : (row - 1) / (rows - 2)) * CHART.width;
  const y = (window: number) => bottom - (window / columns) * CHART.height;
  const title = `smallest window that keeps ${roundCoordinate(100 * windowQuantile)} % of a row start's attention`;
  return [
    svgLabel(left - 20, top - 12, title, `font-size="11"`),
    ...ticks(columns, tickStep(columns, 5)).flatMap((tick) => [
      `<path d="M${roundCoordinate(left)} ${roundCoordinate(y(tick))}H${roundCoordinate(right)}" stroke="${GRID}"/>`,
      svgLabel(left - 6, y(tick) + 3.5, String(tick), `text-anchor="end" fill="${FAINT}"`),
    ]),
    ...ticks(rows - 1, tickStep(rows - 1, 6))
      .filter((tick) => tick > 0)
      .map((tick) => svgLabel(x(tick), bottom + 15, String(tick), `text-anchor="middle" fill="${FAINT}"`)),
    svgLabel(right, bottom + 30, "row that is opened", `text-anchor="end" fill="${FAINT}"`),
    `<path d="M${roundCoordinate(left)} ${roundCoordinate(top)}V${roundCoordinate(bottom)}H${roundCoordinate(right)}" fill="none" stroke="#8c959f"/>`,
    `<path d="M${roundCoordinate(left)} ${roundCoordinate(y(suggestedWindow))}H${roundCoordinate(right)}" stroke="${INK}" stroke-dasharray="6 4"/>`,
    ...LINES.flatMap(({ name, key, color: stroke, dash }, k) => {
      const points = windows
        .map((row) => `${roundCoordinate(x(row.row))} ${roundCoordinate(y(row[key]))}`)
        .join("L");
      const style = `stroke="${stroke}" stroke-width="1.8" stroke-dasharray="${dash}"`;
      return [
        ...(windows.length === 0 ? [] : [`<path d="M${points}" fill="none" ${style}/>`]),
        ...legend(left, bottom + 42 + 15 * k, style, name),
      ];
    }),
    ...legend(
      left,
      bottom + 42 + 15 * LINES.length,
      `stroke="${INK}" stroke-dasharray="6 4"`,
      `suggested: ${suggestedWindow} of ${columns} columns`,
    ),
  ];
}

function legend(left: number, y: number, style: string, name: string): readonly string[] {
  return [
    `<path d="M${roundCoordinate(left)} ${roundCoordinate(y)}h24" ${style}/>`,
    svgLabel(left + 30, y + 3.5, name),
  ];
}

/** `share` of the largest, in logarithmic steps. */
function color(share: number): string {
  const position = Math.max(0, 1 + Math.log10(Math.max(share, 1e-12)) / Math.log10(DYNAMIC_RANGE));
  const at = Math.min(position, 1) * (SCALE.length - 1);
  const low = Math.min(Math.floor(at), SCALE.length - 2);
  const [from, to] = [SCALE[low], SCALE[low + 1]] as [readonly number[], readonly number[]];
  const channels = from.map((value, k) => Math.round(value + (at - low) * ((to[k] as number) - value)));
  return `rgb(${channels.join(",")})`;
}

function tickStep(largest: number, count: number): number {
  return [1, 2, 5, 10, 20, 50, 100, 200, 500].find((step) => largest / step <= count) ?? 1000;
}

function ticks(largest: number, step: number): readonly number[] {
  return Array.from({ length: Math.floor(largest / step) + 1 }, (_, k) => k * step);
}
