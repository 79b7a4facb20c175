import { z } from "zod";
import { parseOptions } from "../api/generate-options.ts";
import type { Backend, ModelDescription, WorkerSource } from "../decode/backend.ts";
import type { ModelCard } from "../protocol/messages.ts";
import { slotCount } from "../schedule/grid.ts";
import { PIXELS_PER_TOKEN, StubForwarder } from "./worker.ts";

export const stubOptionsSchema = z.strictObject({
  rows: z.int().min(1).max(1024).default(24),
  columns: z.int().min(1).max(1024).default(24),
  rowEnd: z.enum(["none", "token"]).default("none"),
  codeCount: z.int().min(2).default(16384),
  promptLength: z.int().min(1).default(1),
  /** Tokens of the row above, from the cell's own column on, that its token depends on. */
  reach: z.int().min(0).default(3),
  seed: z
    .int()
    .min(0)
    .max(2 ** 32 - 1)
    .default(0),
});

export type StubOptions = z.input<typeof stubOptionsSchema>;
export type ResolvedStubOptions = z.output<typeof stubOptionsSchema>;

/** A deterministic model in this process: no Python, no checkpoint. For tests of schedulers and of applications. */
export function stubWorker(options: StubOptions = {}): WorkerSource {
  const resolved = parseOptions(stubOptionsSchema, options, "stubWorker");
  const card = stubCard(resolved);
  return {
    async open({ maxImages = 8 }): Promise<Backend> {
      return {
        card,
        device: "stub",
        dtype: "float32",
        pid: undefined,
        forwarder: new StubForwarder(resolved, maxImages * card.branches.length),
        failure: () => undefined,
        async stop() {},
      };
    },
    async describe(): Promise<ModelDescription> {
      return {
        card,
        device: "stub",
        dtype: "float32",
        weights: [],
        slotCount: slotCount(resolved, resolved.promptLength),
        cacheBytesPerImage: 0,
        freeBytes: null,
      };
    },
  };
}

function stubCard({ rows, columns, rowEnd, codeCount }: ResolvedStubOptions): ModelCard {
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
