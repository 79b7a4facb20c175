import type { GenerateOptions } from "#zipar/index";
import type { ImageSet } from "./types.ts";

/** The generations of a row: one image, or more images of every kind than fit at once. */
export function requestsOf(images: ImageSet): readonly GenerateOptions[] {
  return images === "one" ? MANY.slice(0, 1) : MANY;
}

const MANY: readonly GenerateOptions[] = [
  { classLabel: 3, window: 2, seed: 7, guidanceScale: 2, partialImages: 1 },
  { classLabel: 1, window: "full", seed: 8, guidanceScale: 1, topK: 3 },
  { classLabel: 2, window: { kind: "adaptive", min: 1 }, seed: 9, guidanceScale: 2 },
  {
    classLabel: 5,
    window: { kind: "adaptive", min: 2, test: "coupled", verification: "sequential" },
    seed: 10,
  },
  { classLabel: 3, window: 4, seed: 11, temperature: 0.7, topP: 0.9 },
];
