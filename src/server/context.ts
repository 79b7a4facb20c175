import type { EnginePool } from "./engine-pool.ts";
import type { ImageGate } from "./image-gate.ts";
import type { ImageStore } from "./image-store.ts";
import type { Metrics } from "./metrics.ts";
import type { ResolvedServerOptions } from "./options.ts";

/** What the routes of a server share. */
export interface ServerContext {
  readonly options: ResolvedServerOptions;
  readonly pool: EnginePool;
  /** One for each model. */
  readonly gates: ReadonlyMap<string, ImageGate>;
  readonly store: ImageStore;
  readonly metrics: Metrics;
  /** Aborted when images that still run are to end. */
  readonly stopping: AbortSignal;
}
