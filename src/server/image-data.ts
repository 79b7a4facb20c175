import type { GeneratedImage } from "../api/image.ts";
import type { ImageFormat } from "../picture/encode.ts";

export const MIME_TYPES = { png: "image/png", jpeg: "image/jpeg", webp: "image/webp" } as const;

/** How a request wants its pictures. */
export interface PictureForm {
  readonly format: ImageFormat;
  /** Quality of JPEG and WebP, 0 to 100; left out, or 100 for WebP: as the SDK writes files. */
  readonly compression?: number | undefined;
  /** Whether a finished picture carries how it was made; not together with `compression`. */
  readonly metadata?: boolean;
}

export async function encodeImage(
  image: GeneratedImage,
  { format, compression: quality, metadata = false }: PictureForm,
): Promise<Buffer> {
  const isDefault = quality === undefined || format === "png" || (format === "webp" && quality === 100);
  if (isDefault) return Buffer.from(await image.encode(format, { metadata }));
  const options = { quality: Math.max(1, quality) }; // libvips counts from 1
  return format === "jpeg"
    ? image.toSharp().jpeg(options).toBuffer()
    : image.toSharp().webp(options).toBuffer();
}
