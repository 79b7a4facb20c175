import type { ModelDescription, WorkerSource } from "../decode/worker-source.ts";
import { parseOptions } from "../options/parse.ts";
import { slotCount } from "../schedule/grid.ts";
import { type StubOptions, stubOptionsSchema } from "./options.ts";
import { StubWorker } from "./worker.ts";

/** Images decoded together unless the engine says how many. */
const DEFAULT_IMAGES = 8;

/**
 * A deterministic model in this process: no Python, no checkpoint. For tests of schedulers and of applications. Timers and
 * aborts get their turn between its forwards.
 */
export function stubWorker(options: StubOptions = {}): WorkerSource {
  const resolved = parseOptions(stubOptionsSchema, options, "stubWorker");
  return {
    async open({ maxImages = DEFAULT_IMAGES }): Promise<StubWorker> {
      return new StubWorker(resolved, maxImages);
    },
    async describe(): Promise<ModelDescription> {
      const { card, device, dtype } = new StubWorker(resolved, 1);
      return {
        card,
        device,
        dtype,
        weights: [],
        slotCount: slotCount(resolved, resolved.promptLength),
        cacheBytesPerImage: 0,
        freeBytes: null,
      };
    },
  };
}
