import type { ModelDescription } from "../decode/worker-source.ts";
import { ZiparError } from "../errors.ts";
import { type EngineOptions, resolveEngineOptions } from "./engine-options.ts";
import { placesOf } from "./places.ts";
import { startUnder } from "./start.ts";
import { userLogger } from "./user-function.ts";

export type InspectOptions = Omit<EngineOptions, "maxImages" | "maxQueue">;

/** Memory on the device, or on each of those that the model is split over, for images that are decoded together. */
export interface MemoryEstimate {
  readonly images: number;
  readonly weightBytes: number;
  /** K and V of all branches of all images. */
  readonly cacheBytes: number;
  readonly totalBytes: number;
  /** null where the system does not say how much is free. */
  readonly fits: boolean | null;
}

/**
 * Reads what a checkpoint is and needs, without loading its weights: on one device, or on each of those of a split model. Files of a hub repository are fetched.
 * @throws ZiparError as `createEngine`
 */
export async function inspectModel(options: InspectOptions = {}): Promise<ModelDescription> {
  const resolved = resolveEngineOptions(options);
  const { worker } = resolved;
  const describe = worker.describe?.bind(worker);
  if (describe === undefined) {
    throw new ZiparError({
      code: "invalid-options",
      message:
        "inspectModel: this worker cannot describe a model without loading it; use createEngine and its card",
    });
  }
  const [device = resolved.device] = (await placesOf(resolved)).devices;
  return startUnder({ ...resolved, device, logger: userLogger(resolved.logger) }, describe);
}

/** Weights and K/V cache of so many images decoded together; what a forward needs in passing comes on top. */
export function estimateMemory(description: ModelDescription, images: number): MemoryEstimate {
  const { freeBytes, cacheBytesPerImage } = description;
  const weightBytes = weightBytesOf(description);
  const cacheBytes = images * cacheBytesPerImage;
  const totalBytes = weightBytes + cacheBytes;
  return {
    images,
    weightBytes,
    cacheBytes,
    totalBytes,
    fits: freeBytes === null ? null : totalBytes <= freeBytes,
  };
}

/** How many images can be decoded together; undefined where free memory is not known, or nothing limits them. */
export function largestImageCount(description: ModelDescription): number | undefined {
  const { freeBytes, cacheBytesPerImage } = description;
  if (freeBytes === null || cacheBytesPerImage === 0) return undefined;
  return Math.max(0, Math.floor((freeBytes - weightBytesOf(description)) / cacheBytesPerImage));
}

export function weightBytesOf({ weights }: ModelDescription): number {
  return weights.reduce((sum, { bytes }) => sum + bytes, 0);
}
