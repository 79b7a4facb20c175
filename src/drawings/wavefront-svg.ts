import type { Plan } from "../api/plan.ts";

/** The forward at which each cell of a grid was decoded. */
export interface Wavefront {
  readonly columns: number;
  readonly forwards: number;
  /** Raster order, from 1; 0 where a cell was not decoded. */
  readonly steps: Int32Array;
}

const CELL = 22;
const PADDING = 16;
const HEADER = 46;

/**
 * A plan as SVG: each cell carries the forward that decodes it, from dark (first) to light (last). The cells of one
 * forward in the middle of the run are outlined: that is the wavefront.
 */
export function drawWavefrontSvg(plan: Plan): string {
  const { rows, columns, window, forwards, nextTokenForwards, reduction } = plan;
  const width = 2 * PADDING + columns * CELL;
  const height = PADDING + HEADER + rows * CELL;
  const shown = Math.round(forwards / 2);
  const title =
    `${rows} x ${columns} tokens, window ${window}: ${forwards} forwards instead of ${nextTokenForwards} ` +
    `(-${(100 * reduction).toFixed(1)} %)`;
  return [
    `<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 ${width} ${height}" width="${width}" height="${height}" font-family="system-ui, sans-serif">`,
    `<rect width="${width}" height="${height}" fill="#ffffff"/>`,
    `<text x="${PADDING}" y="18" font-size="13" fill="#1f2328">${title}</text>`,
    `<text x="${PADDING}" y="36" font-size="11" fill="#57606a">number: the forward that decodes the cell; outlined: forward ${shown}, all at once</text>`,
    ...wavefrontCells(plan, { x: PADDING, y: HEADER, cell: CELL, shown }),
    "</svg>",
    "",
  ].join("\n");
}

/** The cells alone, with their upper left corner at (x, y), `cell` pixels apart; small ones carry no number. */
export function wavefrontCells(
  { columns, forwards, steps }: Wavefront,
  { x: left, y: top, cell, shown }: { x: number; y: number; cell: number; shown: number },
): readonly string[] {
  const side = cell - (cell < 8 ? 0.5 : 2);
  const hasNumbers = cell >= 16 && String(forwards).length * 4.9 < side;
  const cells = [...steps].map((step, k) => {
    const x = left + (k % columns) * cell;
    const y = top + Math.floor(k / columns) * cell;
    const share = forwards === 1 ? 0 : (step - 1) / (forwards - 1);
    const fill = step === 0 ? "#d0d7de" : shade(share);
    const outline = step === shown ? ` stroke="#d1242f" stroke-width="${cell < 8 ? 1 : 2.5}"` : "";
    const box = `<rect x="${x}" y="${y}" width="${side}" height="${side}" rx="${side < 12 ? 0 : 3}" fill="${fill}"${outline}/>`;
    if (step === 0 || !hasNumbers) return box;
    const color = share < 0.55 ? "#ffffff" : "#1f2328";
    return `${box}<text x="${x + side / 2}" y="${y + side / 2 + 3}" fill="${color}">${step}</text>`;
  });
  return [`<g font-size="9" text-anchor="middle">`, ...cells, "</g>"];
}

/** From deep blue to pale yellow. */
function shade(share: number): string {
  const from = [33, 60, 120];
  const to = [250, 232, 160];
  const channels = from.map((value, k) => Math.round(value + share * ((to[k] as number) - value)));
  return `rgb(${channels.join(",")})`;
}
