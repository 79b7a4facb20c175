import type { OverlayOptions, Sharp } from "sharp";
import type { GeneratedImage } from "../api/image.ts";
import { loadSharp } from "../system/native-modules.ts";
import { renderLabel } from "./label.ts";

export interface SheetRow {
  readonly label: string;
  readonly images: readonly GeneratedImage[];
}

const GAP = 8;
const TITLE_HEIGHT = 26;
const LABEL_HEIGHT = 20;

/**
 * Pictures side by side: one line of pictures per row, a title above each row, a label above each column.
 * Pictures narrower than `minSide` are enlarged without smoothing.
 */
export async function drawContactSheet(
  columnLabels: readonly string[],
  rows: readonly SheetRow[],
  minSide = 128,
): Promise<Sharp> {
  const first = rows[0]?.images[0];
  if (first === undefined) throw new Error("drawContactSheet: no pictures");
  const scale = Math.max(1, Math.ceil(minSide / first.width));
  const width = first.width * scale;
  const height = first.height * scale;
  const top = GAP + LABEL_HEIGHT;
  const rowHeight = TITLE_HEIGHT + height + GAP;
  const overlays: OverlayOptions[] = [];

  for (const [column, text] of columnLabels.entries()) {
    const label = await renderLabel(text, 10);
    const left = GAP + column * (width + GAP) + Math.max(0, Math.round((width - label.width) / 2));
    overlays.push({ input: label.data, left, top: GAP });
  }
  for (const [row, { label, images }] of rows.entries()) {
    const title = await renderLabel(label, 11);
    overlays.push({ input: title.data, left: GAP, top: top + row * rowHeight + 4 });
    for (const [column, image] of images.entries()) {
      const input = await image.toSharp().resize(width, height, { kernel: "nearest" }).png().toBuffer();
      overlays.push({
        input,
        left: GAP + column * (width + GAP),
        top: top + row * rowHeight + TITLE_HEIGHT,
      });
    }
  }
  return loadSharp()({
    create: {
      width: GAP + columnLabels.length * (width + GAP),
      height: top + rows.length * rowHeight,
      channels: 3,
      background: "#ffffff",
    },
  }).composite(overlays);
}
