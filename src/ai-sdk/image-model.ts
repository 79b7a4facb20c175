import type { ImageReport } from "../api/image-report.ts";
import { type ImageCall, readImageCall } from "./image-call.ts";
import type { ImageModelV4, Warning } from "./specification.ts";

/**
 * All images of `generateImage` go into one call: the SDK would make several with the same seed, and so the same images.
 */
const MOST_IMAGES = 1_000_000;

/** What a call is answered with, wherever its images were made. */
export interface MadeImages {
  /** Bytes, or base64. */
  readonly images: string[] | Uint8Array[];
  readonly reports: readonly (ImageReport & { readonly size: `${number}x${number}` })[];
  readonly promptTokens: number;
  readonly imageTokens: number;
  readonly headers?: Record<string, string> | undefined;
  readonly warnings?: readonly Warning[];
}

/** Rejects with a ZiparError or an `APICallError`, and of an aborted call with its signal's reason. */
export type MakeImages = (call: ImageCall) => Promise<MadeImages>;

export function imageModel(modelId: string, makeImages: MakeImages): ImageModelV4 {
  return {
    specificationVersion: "v4",
    provider: "zipar.image",
    modelId,
    maxImagesPerCall: MOST_IMAGES,
    supportsFileInputs: false,
    supportsMaskInputs: false,
    async doGenerate(options) {
      const call = readImageCall(options);
      const timestamp = new Date();
      if (call.signal?.aborted) throw call.signal.reason;
      const { images, reports, promptTokens, imageTokens, headers, warnings = [] } = await makeImages(call);
      return {
        images,
        warnings: [...call.warnings, ...warnings],
        providerMetadata: { zipar: { images: [...reports] } },
        response: { timestamp, modelId, headers },
        usage: {
          inputTokens: promptTokens,
          outputTokens: imageTokens,
          totalTokens: promptTokens + imageTokens,
        },
      };
    },
  };
}
