import type { Forwarder } from "./decode.ts";
import type { ResolvedEngineOptions } from "./engine-options.ts";
import type { ModelCard } from "./protocol/messages.ts";

/** What an engine runs on: a loaded model that executes forwards. */
export interface Backend {
  readonly card: ModelCard;
  /** e.g. "cpu", "cuda:0 NVIDIA H100", "stub". */
  readonly device: string;
  readonly dtype: string;
  readonly forwarder: Forwarder;
  /** Process id of the worker; undefined when there is none. */
  readonly pid: number | undefined;
  /** Ends it. Safe to call twice. */
  stop(): Promise<void>;
}

/** How a backend comes to be. `stubWorker()` and `pythonWorker()` make these. */
export interface WorkerSource {
  open(options: ResolvedEngineOptions): Promise<Backend>;
}
