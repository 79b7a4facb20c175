import type { Sharp } from "sharp";
import { MAX_JPEG_XMP_BYTES } from "./jpeg.ts";
import { parametersText } from "./parameters-text.ts";
import { withPngTexts } from "./png.ts";
import { encodeSettings, type PictureSettings } from "./settings.ts";
import { xmpPacket } from "./xmp.ts";

export type ImageFormat = "png" | "webp" | "jpeg";

/** The keyword of a PNG's text under which the settings lie, as JSON. */
export const PNG_KEYWORD = "zipar";

/**
 * Encodes pixels, with word of how they were made where `settings` are given: as texts in a PNG, as XMP in the others.
 * A JPEG has no room for more than 60 kB of it: where that does not suffice, it carries no tokens, and then nothing at all.
 */
export async function encodePicture(
  pixels: Sharp,
  format: ImageFormat,
  settings: PictureSettings | undefined,
): Promise<Uint8Array> {
  switch (format) {
    case "png": {
      const png = await pixels.png().toBuffer();
      if (settings === undefined) return png;
      return withPngTexts(png, {
        parameters: parametersText(settings),
        [PNG_KEYWORD]: encodeSettings(settings),
      });
    }
    case "webp":
      return withXmp(pixels, xmpOf(settings)).webp({ lossless: true }).toBuffer();
    case "jpeg": {
      const xmp = [settings, settings && { ...settings, tokens: undefined }]
        .map(xmpOf)
        .find((xmp) => xmp !== undefined && Buffer.byteLength(xmp) <= MAX_JPEG_XMP_BYTES);
      return withXmp(pixels, xmp).jpeg({ quality: 95, chromaSubsampling: "4:4:4" }).toBuffer();
    }
  }
  format satisfies never;
}

function xmpOf(settings: PictureSettings | undefined): string | undefined {
  if (settings === undefined) return undefined;
  return xmpPacket(encodeSettings(settings), parametersText(settings), `zipar ${settings.zipar}`);
}

function withXmp(pixels: Sharp, xmp: string | undefined): Sharp {
  return xmp === undefined ? pixels : pixels.withXmp(xmp);
}
