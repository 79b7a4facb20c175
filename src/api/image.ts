import type { Sharp } from "sharp";
import type { Pixels } from "../decode/worker.ts";
import { ZiparError } from "../errors.ts";
import { encodePicture, type ImageFormat } from "../picture/encode.ts";
import type { PictureSettings } from "../picture/settings.ts";
import { loadSharp } from "../system/native-modules.ts";
import { writeWhole } from "../system/write-whole.ts";
import { imageFormatOf } from "./image-format.ts";

export interface EncodeOptions {
  /**
   * Puts in how the picture was made (`GenerationResult.settings`): a PNG gets the texts `parameters`, which image tools
   * read, and `zipar`; WebP and JPEG get XMP. Only the finished picture of a generation knows it. Default: false.
   */
  readonly metadata?: boolean | undefined;
}

/** A decoded picture: 8-bit RGB, row by row. */
export class GeneratedImage {
  readonly width: number;
  readonly height: number;
  readonly pixels: Uint8Array;
  readonly #settings: PictureSettings | undefined;

  /** @internal */
  constructor({ width, height, data }: Pixels, settings?: PictureSettings) {
    this.width = width;
    this.height = height;
    this.pixels = data;
    this.#settings = settings;
  }

  /**
   * Encodes the picture; PNG and WebP without loss.
   * @throws ZiparError `invalid-options` where `metadata` is asked for and there is none, `image-output` where the format
   *   does not take pictures of this size
   */
  async encode(format: ImageFormat = "png", { metadata = false }: EncodeOptions = {}): Promise<Uint8Array> {
    if (metadata && this.#settings === undefined) {
      throw new ZiparError({
        code: "invalid-options",
        message:
          "this picture does not know how it was made: only the finished one of a generation does, and no preview; " +
          "leave `metadata` out",
      });
    }
    const pixels = this.toSharp(); // outside of `try`: that sharp is missing is no fault of the picture
    try {
      return await encodePicture(pixels, format, metadata ? this.#settings : undefined);
    } catch (cause) {
      const message = `${this.width} x ${this.height} pixels cannot be encoded as ${format}; PNG takes every size`;
      throw new ZiparError({ code: "image-output", message, cause });
    }
  }

  /**
   * Writes the picture, whole or not at all; the format follows the file's ending (.png, .webp, .jpg, .jpeg).
   * @throws ZiparError as `encode`, and `image-output` where it cannot be written
   */
  async save(path: string, options?: EncodeOptions): Promise<void> {
    await writeWhole(path, await this.encode(imageFormatOf(path), options));
  }

  /**
   * For further processing with sharp.
   * @throws ZiparError `native-module` where sharp cannot be loaded
   */
  toSharp(): Sharp {
    const { buffer, byteOffset, byteLength } = this.pixels;
    // A view of ours: sharp does not know the arrays of another realm, such as jsdom's
    return loadSharp()(Buffer.from(buffer, byteOffset, byteLength), {
      raw: { width: this.width, height: this.height, channels: 3 },
    });
  }
}
