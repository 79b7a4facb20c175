import type { Logger } from "../logger.ts";
import type { ModelCard } from "../protocol/messages.ts";
import type { Worker } from "./worker.ts";

/**
 * How a worker comes to be: `pythonWorker()`, `remoteWorker()` and `stubWorker()` make these. When an engine replaces a
 * lost worker, it stops that one and opens its source again.
 */
export interface WorkerSource {
  open(options: WorkerOptions): Promise<Worker>;
  /** How many workers it is about, where that is its own matter: an engine begins with `min`, others may come later. */
  readonly count?: { readonly min: number; readonly max: number };
  /** Reads what `open` would load; for `inspectModel`. */
  describe?(options: WorkerOptions): Promise<ModelDescription>;
}

/** The options of an engine that concern its worker, after defaults and checks. */
export interface WorkerOptions {
  readonly model: string;
  readonly vq?: string | undefined;
  readonly textEncoder?: string | undefined;
  readonly weightsKey?: string | undefined;
  /** In pixels. */
  readonly size?: { readonly width: number; readonly height: number } | undefined;
  readonly device: string;
  readonly dtype: "auto" | "float32" | "bfloat16" | "float16";
  /** Undefined: "full". */
  readonly weights?: "full" | "int8" | undefined;
  /** Undefined: "full". */
  readonly kvCache?: "full" | "int8" | undefined;
  /** Undefined: false. */
  readonly cudaGraphs?: boolean | undefined;
  /** That a worker of this machine computes with on a CPU; undefined: "auto". */
  readonly threads?: "auto" | number | undefined;
  /** Workers of the engine, which share the processors where they run on one machine; undefined: one. */
  readonly workerCount?: number | undefined;
  /** Images decoded together; undefined: as many as fit, up to a default. */
  readonly maxImages?: number | undefined;
  readonly startTimeoutMs: number;
  readonly heartbeatTimeoutMs: number;
  readonly hangTimeoutMs?: number | undefined;
  readonly firstHangTimeoutMs: number;
  readonly logger: Logger;
  readonly onProgress?: ((progress: StartProgress) => void) | undefined;
  /** Cancels the start. */
  readonly signal?: AbortSignal | undefined;
}

/** How far a long start has come. `total` is null where it is not known. */
export interface StartProgress {
  readonly phase: string;
  readonly completed: number;
  readonly total: number | null;
  readonly unit: string;
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
