import sharp, { type Sharp } from "sharp";
import type { Pixels } from "../decode/worker.ts";
import { reasonOf, ZiparError } from "../errors.ts";
import { type ImageFormat, imageFormatOf } from "./image-format.ts";

/** A decoded picture: 8-bit RGB, row by row. */
export class GeneratedImage {
  readonly width: number;
  readonly height: number;
  readonly pixels: Uint8Array;

  constructor({ width, height, data }: Pixels) {
    this.width = width;
    this.height = height;
    this.pixels = data;
  }

  /** Encodes the picture; PNG and WebP without loss. */
  async encode(format: ImageFormat = "png"): Promise<Uint8Array> {
    return encoderOf(this.toSharp(), format).toBuffer();
  }

  /**
   * Writes the picture; the format follows the file's ending (.png, .webp, .jpg, .jpeg).
   * @throws ZiparError `image-output`
   */
  async save(path: string): Promise<void> {
    const format = imageFormatOf(path);
    try {
      await encoderOf(this.toSharp(), format).toFile(path);
    } catch (cause) {
      throw new ZiparError({
        code: "image-output",
        message: `cannot write ${path}: ${reasonOf(cause)}`,
        cause,
      });
    }
  }

  /** For further processing with sharp. */
  toSharp(): Sharp {
    return sharp(this.pixels, { raw: { width: this.width, height: this.height, channels: 3 } });
  }
}

function encoderOf(image: Sharp, format: ImageFormat): Sharp {
  switch (format) {
    case "png":
      return image.png();
    case "webp":
      return image.webp({ lossless: true });
    case "jpeg":
      return image.jpeg({ quality: 95, chromaSubsampling: "4:4:4" });
  }
  format satisfies never;
}
