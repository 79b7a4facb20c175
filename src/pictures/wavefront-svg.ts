import type { Plan } from "../plan.ts";

const CELL = 22;
const GAP = 2;
const PADDING = 16;
const HEADER = 46;

/**
 * A plan as SVG: each cell carries the forward that decodes it, from dark (first) to light (last). The cells of one
 * forward in the middle of the run are outlined: that is the wavefront.
 */
export function drawWavefrontSvg(plan: Plan): string {
  const { rows, columns, window, forwards, nextTokenForwards, reduction, steps } = plan;
  const width = 2 * PADDING + columns * CELL;
  const height = PADDING + HEADER + rows * CELL;
  const shown = Math.round(forwards / 2);
  const cells = [...steps].map((step, k) => {
    const x = PADDING + (k % columns) * CELL;
    const y = HEADER + Math.floor(k / columns) * CELL;
    const share = forwards === 1 ? 0 : (step - 1) / (forwards - 1);
    const outline = step === shown ? ' stroke="#d1242f" stroke-width="2.5"' : "";
    const side = CELL - GAP;
    return (
      `<rect x="${x}" y="${y}" width="${side}" height="${side}" rx="3" fill="${shade(share)}"${outline}/>` +
      `<text x="${x + side / 2}" y="${y + side / 2 + 3}" fill="${share < 0.55 ? "#ffffff" : "#1f2328"}">${step}</text>`
    );
  });
  const title =
    `${rows} x ${columns} tokens, window ${window}: ${forwards} forwards instead of ${nextTokenForwards} ` +
    `(-${(100 * reduction).toFixed(1)} %)`;
  return [
    `<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 ${width} ${height}" width="${width}" height="${height}" font-family="system-ui, sans-serif">`,
    `<rect width="${width}" height="${height}" fill="#ffffff"/>`,
    `<text x="${PADDING}" y="18" font-size="13" fill="#1f2328">${title}</text>`,
    `<text x="${PADDING}" y="36" font-size="11" fill="#57606a">number: the forward that decodes the cell; outlined: forward ${shown}, all at once</text>`,
    `<g font-size="9" text-anchor="middle">`,
    ...cells,
    "</g>",
    "</svg>",
    "",
  ].join("\n");
}

/** From deep blue to pale yellow. */
function shade(share: number): string {
  const from = [33, 60, 120];
  const to = [250, 232, 160];
  const channels = from.map((value, k) => Math.round(value + share * ((to[k] as number) - value)));
  return `rgb(${channels.join(",")})`;
}
