import type { Plan } from "../plan.ts";

const MAX_LINES = 48;

/**
 * A plan as text: each cell shows the forward that decodes it. Where the numbers do not fit, the grid is sampled and
 * each cell shows its tenth of the run as a digit.
 */
export function drawWavefront(plan: Plan, width: number): string {
  const { forwards, nextTokenForwards, reduction, maxQueries, rows, columns, window } = plan;
  const cellWidth = String(forwards).length + 1;
  const fits = columns * cellWidth <= width && rows <= MAX_LINES;
  const picture = fits ? numbers(plan, cellWidth) : tenths(plan, width);
  return [
    `${rows} x ${columns} tokens, window ${window}: ${forwards} forwards instead of ${nextTokenForwards} ` +
      `(-${(100 * reduction).toFixed(1)} %), at most ${maxQueries} queries in one`,
    fits
      ? "Each cell shows the forward that decodes it:"
      : "Each digit is the tenth of the run (0 first, 9 last) in which a cell is decoded:",
    "",
    ...picture,
  ].join("\n");
}

function numbers({ rows, columns, steps }: Plan, cellWidth: number): string[] {
  return Array.from({ length: rows }, (_, row) =>
    [...steps.subarray(row * columns, (row + 1) * columns)]
      .map((step) => String(step).padStart(cellWidth))
      .join(""),
  );
}

function tenths({ rows, columns, steps, forwards }: Plan, width: number): string[] {
  const rowStep = Math.ceil(rows / MAX_LINES);
  const columnStep = Math.ceil(columns / Math.max(10, width));
  const lines: string[] = [];
  for (let row = 0; row < rows; row += rowStep) {
    let line = "";
    for (let column = 0; column < columns; column += columnStep) {
      line += Math.min(9, Math.floor((10 * ((steps[row * columns + column] as number) - 1)) / forwards));
    }
    lines.push(line);
  }
  return lines;
}
