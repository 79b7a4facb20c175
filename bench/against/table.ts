/** The figures of a family as text for a terminal and as Markdown. */
import type { Agreement, AimFigures, SideFigures } from "./figures.ts";

export interface FamilyReport {
  readonly title: string;
  readonly figures: readonly SideFigures[];
  readonly aims: readonly AimFigures[];
  /** Sides that were not measured, and why. */
  readonly leftOut: readonly string[];
}

export function terminalTable(report: FamilyReport): string {
  const rows = rowsOf(report.figures);
  const widths = (rows[0] as Row).map((_, column) =>
    Math.max(...rows.map((row) => (row[column] as string).length)),
  );
  const line = (row: Row) =>
    row
      .map((cell, column) =>
        column === 0 ? cell.padEnd(widths[column] as number) : cell.padStart(widths[column] as number),
      )
      .join("   ");
  return [report.title, ...rows.map((row) => `  ${line(row)}`), ...remarksOf(report)].join("\n");
}

export function markdownTable(report: FamilyReport): string {
  const [head, ...rows] = rowsOf(report.figures) as [Row, ...Row[]];
  const line = (row: Row) => `| ${row.join(" | ")} |`;
  const remarks = remarksOf(report);
  return [
    `## ${report.title}`,
    "",
    line(head),
    line(head.map(() => "---")),
    ...rows.map(line),
    ...(remarks.length > 0 ? ["", ...remarks.map((remark) => `- ${remark}`)] : []),
    "",
  ].join("\n");
}

type Row = readonly string[];

function rowsOf(figures: readonly SideFigures[]): readonly Row[] {
  if (figures.length === 0) return [["nothing to compare with"]];
  const others = Object.keys(figures[0]?.faster ?? {});
  const head = ["", "forwards", "ms a forward", "s an image", "peak MiB"];
  return [
    [...head, ...others.map((name) => `faster than ${name}`), "greedy tokens"],
    ...figures.map((side) => [
      side.name,
      side.forwards.toFixed(1),
      side.msPerForward.toFixed(1),
      side.secondsPerImage.toFixed(2),
      side.peakBytes === undefined ? "unknown" : (side.peakBytes / 2 ** 20).toFixed(0),
      ...others.map((name) => `${(side.faster[name] as number).toFixed(2)}x`),
      side.tokens === undefined ? "" : describeAgreement(side.tokens),
    ]),
  ];
}

function describeAgreement({ equalImages, images, equalTokens, tokensPerImage }: Agreement): string {
  return equalImages === images
    ? "equal"
    : `NOT equal: ${equalImages} of ${images} images; the first other token is ${equalTokens + 1} of ${tokensPerImage}`;
}

function remarksOf({ aims, leftOut }: FamilyReport): readonly string[] {
  return [
    ...aims.map(
      ({ side, than, factor, reached }) =>
        `Aim: ${side} at least ${factor}x ${than}: ` +
        (reached === undefined
          ? "not measured"
          : `${reached.toFixed(2)}x, ${reached >= factor ? "reached" : "NOT reached"}`),
    ),
    ...leftOut.map((reason) => `LEFT OUT: ${reason}`),
  ];
}
