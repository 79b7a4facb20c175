import type { ModelCard } from "../protocol/messages.ts";
import type { ResolvedStubOptions } from "./options.ts";

export const PIXELS_PER_TOKEN = 8;

export function stubCard({ rows, columns, rowEnd, codeCount }: ResolvedStubOptions): ModelCard {
  return {
    family: "stub",
    name: "stub",
    parameterCount: 0,
    codeCount,
    rowEnd,
    grids: [{ rows, columns, width: columns * PIXELS_PER_TOKEN, height: rows * PIXELS_PER_TOKEN }],
    conditioning: { type: "class", classCount: 1000, classNames: null },
    branches: ["conditional", "unconditional"],
    defaults: { guidanceScale: 1, temperature: 1, topK: 0, topP: 1, window: 8 },
    imageDecoder: { pixelsPerToken: PIXELS_PER_TOKEN },
    kvBytesPerSlot: 0,
  };
}
