import type { GeneratedImage } from "../api/image.ts";
import type { ImageFormat } from "../picture/encode.ts";

export const MIME_TYPES = { png: "image/png", jpeg: "image/jpeg", webp: "image/webp" } as const;

/** @param quality 0 to 100, for JPEG and WebP; left out, or 100 for WebP: as the SDK writes files */
export async function encodeImage(
  image: GeneratedImage,
  format: ImageFormat,
  quality: number | undefined,
): Promise<Buffer> {
  const isDefault = quality === undefined || format === "png" || (format === "webp" && quality === 100);
  if (isDefault) return Buffer.from(await image.encode(format));
  const options = { quality: Math.max(1, quality) }; // libvips counts from 1
  return format === "jpeg"
    ? image.toSharp().jpeg(options).toBuffer()
    : image.toSharp().webp(options).toBuffer();
}
