import type { Plan } from "../api/plan.ts";
import type { Wavefront } from "../drawings/wavefront-svg.ts";

const MAX_LINES = 48;

/** A plan as text. */
export function drawWavefront(plan: Plan, width: number): string {
  const { forwards, nextTokenForwards, reduction, maxQueries, rows, columns, window } = plan;
  return [
    `${rows} x ${columns} tokens, window ${window}: ${forwards} forwards instead of ${nextTokenForwards} ` +
      `(-${(100 * reduction).toFixed(1)} %), at most ${maxQueries} queries in one`,
    ...drawGrid(plan, width),
  ].join("\n");
}

/**
 * Each cell shows the forward that decodes it. Where the numbers do not fit into `width` characters, the grid is
 * sampled and each cell shows its tenth of the run as a digit. A cell that was not decoded is a dot.
 */
export function drawGrid(wavefront: Wavefront, width: number): readonly string[] {
  const { columns, forwards, steps } = wavefront;
  const cellWidth = String(forwards).length + 1;
  const fits = columns * cellWidth <= width && steps.length / columns <= MAX_LINES;
  return [
    fits
      ? "Each cell shows the forward that decodes it:"
      : "Each digit is the tenth of the run (0 first, 9 last) in which a cell is decoded:",
    "",
    ...(fits ? numbers(wavefront, cellWidth) : tenths(wavefront, width)),
  ];
}

function numbers({ columns, steps }: Wavefront, cellWidth: number): string[] {
  return Array.from({ length: steps.length / columns }, (_, row) =>
    [...steps.subarray(row * columns, (row + 1) * columns)]
      .map((step) => (step === 0 ? "." : String(step)).padStart(cellWidth))
      .join(""),
  );
}

function tenths({ columns, steps, forwards }: Wavefront, width: number): string[] {
  const rows = steps.length / columns;
  const rowStep = Math.ceil(rows / MAX_LINES);
  const columnStep = Math.ceil(columns / Math.max(10, width));
  const lines: string[] = [];
  for (let row = 0; row < rows; row += rowStep) {
    let line = "";
    for (let column = 0; column < columns; column += columnStep) {
      const step = steps[row * columns + column] as number;
      line += step === 0 ? "." : Math.min(9, Math.floor((10 * (step - 1)) / forwards));
    }
    lines.push(line);
  }
  return lines;
}
