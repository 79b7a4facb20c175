import type { WorkerOptions } from "../decode/worker-source.ts";
import type { Source } from "../protocol/messages.ts";

/** The body of `describe`. */
export interface LoadRequest {
  readonly model: {
    readonly weights: Source;
    readonly vq: Source | null;
    readonly textEncoder: Source | null;
    readonly size: { readonly width: number; readonly height: number } | null;
  };
  readonly device: string;
  readonly dtype: "auto" | "float32" | "bfloat16" | "float16";
}

/** The body of `init`. */
export interface InitRequest extends LoadRequest {
  /** Images that the K/V cache shall hold, and whether fewer will do. */
  readonly imageCount: number;
  readonly fewerImages: boolean;
}

/** Images decoded together unless the user says how many, where the memory suffices. */
const DEFAULT_IMAGES = 8;

/** `resolvePart` says where a part of a checkpoint is that lies elsewhere; its second argument names the part in messages. */
export function loadRequest(
  { vq, textEncoder, size, device, dtype }: WorkerOptions,
  weights: Source,
  resolvePart: (reference: string, what: string) => Source,
): LoadRequest {
  return {
    model: {
      weights,
      vq: vq === undefined ? null : resolvePart(vq, "image tokenizer"),
      textEncoder: textEncoder === undefined ? null : resolvePart(textEncoder, "text encoder"),
      size: size ?? null,
    },
    device,
    dtype,
  };
}

export function initRequest({ maxImages }: WorkerOptions, request: LoadRequest): InitRequest {
  return {
    ...request,
    imageCount: maxImages ?? DEFAULT_IMAGES,
    fewerImages: maxImages === undefined,
  };
}
