import type { Sharp } from "sharp";
import { loadSharp } from "../system/native-modules.ts";
import { FONT_FAMILY } from "./font.ts";
import { renderLabel } from "./label.ts";

/** Twice the resolution of an SVG's own pixels (72 per inch), so that small text stays readable. */
const DENSITY = 144;

/** An SVG whose text is set in `FONT_FAMILY`, as a picture; it needs no installed font. */
export async function renderSvg(svg: string): Promise<Sharp> {
  await renderLabel(FONT_FAMILY, 10); // makes the font known to the SVG renderer, which cannot be given a file
  return loadSharp()(Buffer.from(svg), { density: DENSITY });
}
