import type { WorkerOptions } from "../decode/worker-source.ts";
import { PROTOCOL_VERSION, type Source } from "../protocol/messages.ts";
import type { RequestBody } from "../protocol/requests.ts";

/** Where the files of a checkpoint are, from what the user wrote. */
export interface SourceResolver {
  weights(reference: string): Source;
  /** The same for a part that lies elsewhere; `part` names it in messages. */
  part(reference: string, part: string): Source;
}

/** Images decoded together unless the user says how many, where the memory suffices. */
const DEFAULT_IMAGES = 8;

export function describeRequest(
  { model, vq, textEncoder, size, weightsKey, device, dtype, weights, kvCache }: WorkerOptions,
  resolve: SourceResolver,
): RequestBody<"describe"> {
  return {
    type: "describe",
    model: {
      weights: resolve.weights(model),
      vq: vq === undefined ? null : resolve.part(vq, "image tokenizer"),
      textEncoder: textEncoder === undefined ? null : resolve.part(textEncoder, "text encoder"),
      size: size ?? null,
      weightsKey: weightsKey ?? null,
    },
    device,
    dtype,
    weights: weights ?? "full",
    kvCache: kvCache ?? "full",
  };
}

export function initRequest(options: WorkerOptions, resolve: SourceResolver): RequestBody<"init"> {
  const { maxImages } = options;
  return {
    ...describeRequest(options, resolve),
    type: "init",
    protocolVersion: PROTOCOL_VERSION,
    imageCount: maxImages ?? DEFAULT_IMAGES,
    fewerImages: maxImages === undefined,
    cudaGraphs: options.cudaGraphs ?? false,
  };
}
