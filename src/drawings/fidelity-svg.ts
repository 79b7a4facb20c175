import type { BaselineReport, EvalReport, Measures, SettingReport } from "../eval/report.ts";
import { isVariant, kindOf } from "../eval/settings.ts";
import { FONT_FAMILY } from "./font.ts";
import { roundCoordinate, svgLabel } from "./svg-label.ts";

const PANEL_WIDTH = 430;
const PANEL_HEIGHT = 270;
const MARGIN = { left: 58, right: 18, top: 40, bottom: 42 };
const HEADER = 54;
const FAINT = "#57606a";
const CURVES = [
  {
    name: "fixed window",
    color: "#213c78",
    includes: (setting: SettingReport) => kindOf(setting) === "fixed" && setting.variant === undefined,
  },
  {
    name: "fixed, with lookahead",
    color: "#2f9e77",
    includes: ({ variant }: SettingReport) => variant?.lookahead !== undefined,
  },
  {
    name: "guessed window",
    color: "#e2a336",
    includes: (setting: SettingReport) => kindOf(setting) === "guessed",
  },
  {
    name: "adaptive window",
    color: "#d1242f",
    includes: (setting: SettingReport) => kindOf(setting) === "adaptive",
  },
] as const;

type Measure = "accuracy" | "frechet" | "greedyAgreement" | "bitsPerToken";

const PANELS: readonly { readonly measure: Measure; readonly title: string; readonly scale: number }[] = [
  { measure: "accuracy", title: "classifier accuracy, % (higher is better)", scale: 100 },
  { measure: "frechet", title: "Frechet distance to drawn pictures (lower is better)", scale: 1 },
  { measure: "greedyAgreement", title: "greedy tokens equal to next-token order, %", scale: 100 },
  { measure: "bitsPerToken", title: "bits per token under the model", scale: 1 },
];

interface Point {
  readonly x: number;
  readonly y: number;
  /** Ends of the error bar; a share cannot leave 0 to 100 %. */
  readonly low: number;
  readonly high: number;
  readonly name: string;
}

/** Something that no transformer made, to compare the curves with. */
interface Line {
  readonly name: string;
  readonly y: number;
  /** Of its name, in pixels: names stay apart where lines do not. */
  readonly offset: number;
}

/** Forwards against each measure, a curve for each kind of window, with one standard error either way. */
export function drawFidelitySvg(report: EvalReport): string {
  const settings = report.settings.filter(({ variant }) => !isVariant(variant));
  const panels = PANELS.filter(({ measure }) => settings.some((setting) => setting[measure] !== null));
  const columns = Math.min(2, panels.length);
  const width = columns * PANEL_WIDTH;
  const height = HEADER + Math.ceil(panels.length / 2) * PANEL_HEIGHT;
  const imageCount = report.samplesPerClass * report.classes.length;
  const title = `${report.model}: ${imageCount} images a setting; bars: one standard error`;
  return [
    `<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 ${width} ${height}" width="${width}" height="${height}" font-family="${FONT_FAMILY}, system-ui, sans-serif" font-size="10">`,
    `<rect width="${width}" height="${height}" fill="#ffffff"/>`,
    svgLabel(16, 22, title, `font-size="13"`),
    ...CURVES.map(({ name, color }, k) => legendEntry(16 + k * 140, 40, color, name)),
    ...panels.flatMap((panel, k) =>
      drawPanel(report, settings, panel, {
        left: (k % 2) * PANEL_WIDTH,
        top: HEADER + Math.floor(k / 2) * PANEL_HEIGHT,
      }),
    ),
    "</svg>",
    "",
  ].join("\n");
}

function drawPanel(
  report: EvalReport,
  settings: readonly SettingReport[],
  { measure, title, scale }: (typeof PANELS)[number],
  { left, top }: { readonly left: number; readonly top: number },
): readonly string[] {
  const curves = CURVES.map((curve) => ({
    ...curve,
    points: pointsOf(settings.filter(curve.includes), measure, scale),
  }));
  const lines = measure === "accuracy" || measure === "frechet" ? baselineLines(report, measure, scale) : [];
  const points = curves.flatMap((curve) => curve.points);
  const x = axis(
    [0, ...points.map((point) => point.x)],
    left + MARGIN.left,
    left + PANEL_WIDTH - MARGIN.right,
  );
  const yValues = [...points.flatMap(({ low, high }) => [low, high]), ...lines.map((line) => line.y)];
  const y = axis(yValues, top + PANEL_HEIGHT - MARGIN.bottom, top + MARGIN.top);
  const right = left + PANEL_WIDTH - MARGIN.right;
  const bottom = top + PANEL_HEIGHT - MARGIN.bottom;
  return [
    svgLabel(left + MARGIN.left - 36, top + 22, title, `font-size="11"`),
    ...y.ticks.flatMap((tick) => [
      `<path d="M${left + MARGIN.left} ${roundCoordinate(y.at(tick))}H${right}" stroke="#eaeef2"/>`,
      svgLabel(left + MARGIN.left - 6, y.at(tick) + 3.5, y.format(tick), `text-anchor="end" fill="${FAINT}"`),
    ]),
    ...x.ticks.map((tick) =>
      svgLabel(x.at(tick), bottom + 15, x.format(tick), `text-anchor="middle" fill="${FAINT}"`),
    ),
    svgLabel(right, bottom + 31, "forwards an image", `text-anchor="end" fill="${FAINT}"`),
    `<path d="M${left + MARGIN.left} ${top + MARGIN.top}V${bottom}H${right}" fill="none" stroke="#8c959f"/>`,
    ...lines.flatMap((line) => [
      `<path d="M${left + MARGIN.left} ${roundCoordinate(y.at(line.y))}H${right}" stroke="${FAINT}" stroke-dasharray="4 3"/>`,
      svgLabel(
        left + MARGIN.left + line.offset,
        y.at(line.y) - 4,
        line.name,
        `fill="${FAINT}" font-size="9"`,
      ),
    ]),
    ...curves.flatMap(({ color, points: own }, k) => drawCurve(own, color, k === 0 ? -9 : 17, x, y)),
  ];
}

function drawCurve(
  points: readonly Point[],
  color: string,
  nameOffset: number,
  x: Axis,
  y: Axis,
): readonly string[] {
  if (points.length === 0) return [];
  const path = points
    .map((point) => `${roundCoordinate(x.at(point.x))} ${roundCoordinate(y.at(point.y))}`)
    .join("L");
  return [
    `<path d="M${path}" fill="none" stroke="${color}" stroke-width="1.5"/>`,
    ...points.flatMap((point) => {
      const centre = roundCoordinate(x.at(point.x));
      const [low, high] = [roundCoordinate(y.at(point.low)), roundCoordinate(y.at(point.high))];
      return [
        `<path d="M${centre} ${low}V${high}M${centre - 3} ${low}h6M${centre - 3} ${high}h6" stroke="${color}"/>`,
        `<circle cx="${centre}" cy="${roundCoordinate(y.at(point.y))}" r="3.2" fill="${color}"/>`,
        svgLabel(centre + 5, y.at(point.y) + nameOffset, point.name, `fill="${color}" font-size="9"`),
      ];
    }),
  ];
}

/** In the order of their forwards. Adaptive windows are named by their smallest one, guessed ones without their kind. */
function pointsOf(settings: readonly SettingReport[], measure: Measure, scale: number): readonly Point[] {
  return settings
    .flatMap((setting): Point[] => {
      const value = setting[measure];
      const error = (setting.errors as Measures)[measure];
      if (value === null || error === null) return [];
      const name = String(setting.window).replace("adaptive:", "from ").replace("guessed:", "");
      const most = measure === "accuracy" || measure === "greedyAgreement" ? 1 : Number.POSITIVE_INFINITY;
      return [
        {
          x: setting.forwards,
          y: scale * value,
          low: scale * Math.max(0, value - error),
          high: scale * Math.min(most, value + error),
          name,
        },
      ];
    })
    .sort((a, b) => a.x - b.x);
}

function baselineLines(
  { drawn, reconstructed }: EvalReport,
  measure: keyof BaselineReport["errors"],
  scale: number,
): readonly Line[] {
  return [
    ...(drawn === null ? [] : [{ name: "drawn", y: scale * drawn[measure], offset: 4 }]),
    ...(reconstructed === null
      ? []
      : [{ name: "drawn, through the tokenizer", y: scale * reconstructed[measure], offset: 42 }]),
  ];
}

interface Axis {
  readonly ticks: readonly number[];
  at(value: number): number;
  format(tick: number): string;
}

/** A linear axis from pixel `start` to pixel `end` that holds all values, with about five round ticks. */
function axis(values: readonly number[], start: number, end: number): Axis {
  const low = Math.min(...values);
  const high = Math.max(...values);
  const span = high > low ? high - low : Math.abs(high) || 1;
  const power = 10 ** Math.floor(Math.log10(span / 5));
  const step = power * ([1, 2, 5, 10].find((factor) => factor * power >= span / 5) as number);
  const first = Math.floor(low / step);
  const last = Math.max(first + 1, Math.ceil(high / step));
  const digits = Math.max(0, -Math.floor(Math.log10(step)));
  return {
    ticks: Array.from({ length: last - first + 1 }, (_, k) => (first + k) * step),
    at: (value) => start + ((value / step - first) / (last - first)) * (end - start),
    format: (tick) => tick.toFixed(digits),
  };
}

function legendEntry(x: number, y: number, color: string, name: string): string {
  return `<circle cx="${x + 5}" cy="${y - 3.5}" r="4" fill="${color}"/>${svgLabel(x + 14, y, name)}`;
}
