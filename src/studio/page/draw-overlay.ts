import type { Decoding } from "../decoding.ts";
import { ageAt, type Mark, marksAt } from "../marks.ts";

export type Look = "wavefront" | "order" | "picture";

/** Pixels to draw under the overlay, and the last forward whose cells they show. */
export interface Underlay {
  readonly bitmap: ImageBitmap;
  readonly forward: number;
}

/** Forwards for which a new cell glows. */
const GLOW_FORWARDS = 6;
const MARK_COLORS: Readonly<Record<Mark["kind"], string>> = {
  new: "#ffb224",
  "guess-held": "#12a594",
  "guess-fell": "#e5484d",
  "guess-open": "#f4f3ef",
  "draft-held": "#12a594",
  "draft-refused": "#e5484d",
};

/** Draws a picture as it was once `forward` forwards had run. The canvas is cleared: what is not decoded is the page's own ground. */
export function drawOverlay(
  context: CanvasRenderingContext2D,
  decoding: Decoding,
  forward: number,
  look: Look,
  underlay: Underlay | undefined,
): void {
  const { width, height } = context.canvas;
  context.clearRect(0, 0, width, height);
  const { start, steps, forwardOf } = decoding;
  if (start === undefined) return;
  const { rows, columns } = start.grid;
  const [cellWidth, cellHeight] = [width / columns, height / rows];
  const isWhole = decoding.phase === "finished" && forward >= steps.length;
  if (underlay !== undefined) {
    context.imageSmoothingQuality = "high";
    context.drawImage(underlay.bitmap, 0, 0, width, height);
  }
  const gap = Math.min(cellWidth, cellHeight) >= 10 * devicePixelRatio ? devicePixelRatio : 0;
  for (let cell = 0; cell < forwardOf.length; cell++) {
    const age = ageAt(decoding, cell, forward);
    const [x, y] = [(cell % columns) * cellWidth, Math.floor(cell / columns) * cellHeight];
    const isShown = age !== undefined && underlay !== undefined && forward - age <= underlay.forward;
    if (!isShown) context.clearRect(x, y, cellWidth, cellHeight);
    const color =
      age === undefined ? undefined : cellColor(look, age, isShown, isWhole, forward - age, steps.length);
    if (color === undefined) continue;
    context.fillStyle = color;
    context.fillRect(x, y, cellWidth - gap, cellHeight - gap);
  }
  if (look === "wavefront" && !isWhole)
    for (const mark of marksAt(decoding, forward)) drawMark(context, mark, cellWidth, cellHeight);
}

function cellColor(
  look: Look,
  age: number,
  isShown: boolean,
  isWhole: boolean,
  decodedBy: number,
  forwardCount: number,
): string | undefined {
  const share = forwardCount <= 1 ? 0 : Math.max(0, decodedBy - 1) / (forwardCount - 1);
  if (look === "order") return orderColor(share, 0.86);
  if (look === "wavefront" && !isWhole && age < GLOW_FORWARDS)
    return `rgb(255 178 36 / ${isShown ? 0.8 * (1 - age / GLOW_FORWARDS) ** 2 : 1 - 0.1 * age})`;
  return isShown ? undefined : orderColor(share, look === "wavefront" ? 0.8 : 0.45);
}

function drawMark(
  context: CanvasRenderingContext2D,
  { kind, row, column }: Mark,
  width: number,
  height: number,
): void {
  if (kind === "new") return; // it glows
  const [x, y] = [(column + 0.5) * width, (row + 0.5) * height];
  const radius = Math.min(width, height) * (kind === "guess-open" ? 0.11 : 0.2);
  context.lineWidth = Math.max(1, radius * 0.45);
  context.strokeStyle = context.fillStyle = MARK_COLORS[kind];
  context.beginPath();
  if (kind === "guess-fell" || kind === "draft-refused") {
    context.moveTo(x - radius, y - radius);
    context.lineTo(x + radius, y + radius);
    context.moveTo(x + radius, y - radius);
    context.lineTo(x - radius, y + radius);
  } else context.arc(x, y, radius, 0, 2 * Math.PI);
  // A rim keeps it apart from whatever picture is below.
  const color = context.strokeStyle;
  context.strokeStyle = "rgb(0 0 0 / 0.55)";
  context.lineWidth *= 2;
  context.stroke();
  context.lineWidth /= 2;
  context.strokeStyle = color;
  if (kind === "guess-held" || kind === "guess-open") context.fill();
  context.stroke();
}

/** From deep blue to pale yellow, as drawings of traces have it. */
function orderColor(share: number, alpha: number): string {
  const from = [33, 60, 120];
  const to = [250, 232, 160];
  const channels = from.map((value, k) => Math.round(value + share * ((to[k] as number) - value)));
  return `rgb(${channels.join(" ")} / ${alpha})`;
}
