import { loadSharp } from "../system/native-modules.ts";
import { FONT_FAMILY, FONT_FILE } from "./font.ts";

export interface Label {
  readonly data: Buffer;
  readonly width: number;
  readonly height: number;
}

/** Text as a picture. It brings its own font: servers often have none. */
export async function renderLabel(text: string, points: number, color = "#222222"): Promise<Label> {
  const escaped = text.replace(/[&<>]/g, (character) => `&#${character.charCodeAt(0)};`);
  const { data, info } = await loadSharp()({
    text: {
      text: `<span foreground="${color}">${escaped}</span>`,
      font: `${FONT_FAMILY} ${points}`,
      fontfile: FONT_FILE,
      rgba: true,
      dpi: 96,
    },
  })
    .png()
    .toBuffer({ resolveWithObject: true });
  return { data, width: info.width, height: info.height };
}
