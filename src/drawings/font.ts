import { fileURLToPath } from "node:url";

export const FONT_FAMILY = "DejaVu Sans";

/** The font of all labels, which comes with us: servers often have none. TrueType: sharp passes over WOFF without a word. */
export const FONT_FILE = fileURLToPath(import.meta.resolve("dejavu-fonts-ttf/ttf/DejaVuSans.ttf"));
