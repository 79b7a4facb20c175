import { ZiparError } from "../errors.ts";
import type { ImageFormat } from "../picture/encode.ts";

/** By the ending of a file's name. */
const FORMATS: Readonly<Record<string, ImageFormat | undefined>> = {
  png: "png",
  webp: "webp",
  jpg: "jpeg",
  jpeg: "jpeg",
};

export const IMAGE_ENDINGS = ".png, .webp, .jpg or .jpeg";

/**
 * The format that a file name asks for.
 * @throws ZiparError `image-output`
 */
export function imageFormatOf(path: string): ImageFormat {
  const format = knownImageFormat(path);
  if (format !== undefined) return format;
  throw new ZiparError({
    code: "image-output",
    message: `${path} has no known image ending; expected ${IMAGE_ENDINGS}`,
  });
}

/** Undefined for another ending, and for none. */
export function knownImageFormat(path: string): ImageFormat | undefined {
  return FORMATS[/\.([^./\\]+)$/.exec(path)?.[1]?.toLowerCase() ?? ""];
}
