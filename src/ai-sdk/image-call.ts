import { z } from "zod";
import { type GenerateOptions, generateSchema } from "../api/generate-options.ts";
import { type ImageSize, readSize } from "../api/image-size.ts";
import { parseOptions } from "../options/parse.ts";
import type { ImageModelV4CallOptions, Warning } from "./specification.ts";

/** What `providerOptions.zipar` may hold. */
const knobSchema = generateSchema
  .omit({
    prompt: true,
    size: true,
    seed: true,
    image: true,
    partialImages: true,
    prefix: true,
    trace: true,
    signal: true,
  })
  .extend({
    /** Of the pictures; PNG and WebP are without loss. */
    outputFormat: z.enum(["png", "jpeg", "webp"]).optional(),
  });

const callSchema = z.strictObject({
  n: z.int().min(1),
  size: z
    .string()
    .regex(/^[1-9]\d{0,5}x[1-9]\d{0,5}$/, 'expected pixels such as "512x512"')
    .optional(),
  aspectRatio: z.string().optional(),
  seed: generateSchema.shape.seed,
  providerOptions: z.object({ zipar: knobSchema.optional() }),
});

/** Options of zipar's own: what `generate` takes and no field of the AI SDK says. */
export type ZiparImageOptions = z.input<typeof knobSchema>;

/** What a call asks for, in zipar's words. */
export interface ImageCall {
  readonly imageCount: number;
  /** Of the first image; undefined for random ones. */
  readonly seed: number | undefined;
  readonly prompt: string | undefined;
  readonly size: ImageSize | undefined;
  readonly knobs: Omit<ZiparImageOptions, "outputFormat">;
  readonly format: "png" | "jpeg" | "webp";
  readonly signal: AbortSignal | undefined;
  readonly headers: Readonly<Record<string, string | undefined>>;
  readonly warnings: readonly Warning[];
}

/** @throws ZiparError `invalid-options` */
export function readImageCall(options: ImageModelV4CallOptions): ImageCall {
  const { prompt, n, size, aspectRatio, seed, providerOptions, abortSignal, headers = {} } = options;
  parseOptions(callSchema, { n, size, aspectRatio, seed, providerOptions }, "generateImage");
  const { outputFormat = "png", ...knobs } = (providerOptions["zipar"] ?? {}) as ZiparImageOptions;
  return {
    imageCount: n,
    seed,
    prompt,
    size: size === undefined ? (aspectRatio as GenerateOptions["size"]) : readSize(size),
    knobs,
    format: outputFormat,
    signal: abortSignal,
    headers,
    warnings: warningsOf(options),
  };
}

function warningsOf({ files = [], mask, size, aspectRatio }: ImageModelV4CallOptions): readonly Warning[] {
  const unsupported = (feature: string, details: string): Warning => ({
    type: "unsupported",
    feature,
    details,
  });
  return [
    ...(files.length > 0 ? [unsupported("files", "zipar's models make images from words alone")] : []),
    ...(mask === undefined ? [] : [unsupported("mask", "zipar's models make whole images")]),
    ...(size === undefined || aspectRatio === undefined
      ? []
      : [unsupported("aspectRatio", `the size ${size} was given as well, and holds`)]),
  ];
}
