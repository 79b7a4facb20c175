import type { ResolvedEngineOptions } from "../api/engine-options.ts";
import type { ZiparError } from "../errors.ts";
import type { ModelCard } from "../protocol/messages.ts";
import type { Forwarder } from "./worker.ts";

/** What an engine runs on: a loaded model that executes forwards. */
export interface Backend {
  readonly card: ModelCard;
  /** e.g. "cpu", "cuda:0 NVIDIA H100", "stub". */
  readonly device: string;
  readonly dtype: string;
  readonly forwarder: Forwarder;
  /** Process id of the worker; undefined when there is none. */
  readonly pid: number | undefined;
  /** What the worker was lost to; undefined while it runs. Every request fails once it is set. */
  failure(): ZiparError | undefined;
  /** Ends it, within a few seconds whatever state it is in. Safe to call twice. */
  stop(): Promise<void>;
}

/** What a checkpoint is and needs, read without loading it. */
export interface ModelDescription {
  readonly card: ModelCard;
  /** Where it would run, e.g. "cpu", "cuda:0 NVIDIA H100". */
  readonly device: string;
  readonly dtype: string;
  /** Bytes on the device once loaded, by part. */
  readonly weights: readonly { readonly part: string; readonly bytes: number }[];
  /** Slots that one branch of one image needs at most. */
  readonly slotCount: number;
  /** K and V of all branches of one image. */
  readonly cacheBytesPerImage: number;
  /** Memory that is free on the device; null where the system does not say. */
  readonly freeBytes: number | null;
}

/**
 * How a backend comes to be. `stubWorker()` and `pythonWorker()` make these. It is opened again, after the lost backend
 * was stopped, when an engine replaces a lost worker.
 */
export interface WorkerSource {
  open(options: ResolvedEngineOptions): Promise<Backend>;
  /** What `open` would load; for `inspectModel`. */
  describe?(options: ResolvedEngineOptions): Promise<ModelDescription>;
}
