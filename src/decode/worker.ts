import type { ResolvedGeneration, Sampling } from "../api/generate-options.ts";
import type { ZiparError } from "../errors.ts";
import type { QueryResult } from "../schedule/commit-step.ts";
import type { StepPlan } from "../schedule/plan-step.ts";

/** Executes what the decode loop plans. A worker process or the in-process stub. */
export interface Forwarder {
  readonly cacheRowCount: number;
  readonly codeCount: number;
  /** CFG branches of the model; each takes a cache row. */
  readonly branchCount: number;
  /** Holds the prompt of a new sequence; its K/V will go into `cacheRows`. */
  encodePrompt(prompt: PromptRequest): Promise<{ readonly promptLength: number }>;
  /** One transformer forward over all steps. Results are aligned with steps and their queries. */
  forward(steps: readonly ForwardStep[]): Promise<readonly (readonly QueryResult[])[]>;
  decodeImage(codes: Int32Array, rows: number, columns: number): Promise<Pixels>;
  /** Where the attention of a finished image goes; `sequence` is one whose prompt is held. */
  profile(sequence: number, codes: Int32Array, rows: number, columns: number): Promise<AttentionMasses>;
  release(sequences: readonly number[]): Promise<void>;
  stats(): Promise<WorkerStats>;
}

/** Where the decode loop gets its forwarder from: the worker that runs, and another one once that is lost. */
export interface WorkerSupply {
  readonly forwarder: Forwarder;
  /** What the worker was lost to; undefined while it runs. */
  failure(): ZiparError | undefined;
  /** Puts another worker in the place of the lost one. Rejects when there will be none. */
  replace(): Promise<void>;
}

/** What a worker has done since it started. */
export interface WorkerStats {
  readonly forwardCount: number;
  /** Time inside forwards, in ms. */
  readonly forwardMs: number;
  readonly residentBytes: number;
  /** Memory held on the device; null on a CPU. */
  readonly deviceBytes: number | null;
}

export interface PromptRequest {
  readonly sequence: number;
  readonly cacheRows: readonly number[];
  readonly rows: number;
  readonly columns: number;
  readonly conditioning: ResolvedGeneration["conditioning"];
}

export interface ForwardStep {
  readonly sequence: number;
  readonly plan: Pick<StepPlan, "queries" | "runs">;
  readonly sampling: Sampling;
  /** Branches that run, as ascending indices; without a value all that the sequence has. */
  readonly branches?: readonly number[];
  /** Rebuilding a lost cache: the forward in which each query was first fed; it sees no slot of a later one. */
  readonly steps?: Int32Array;
}

/**
 * Attention of one image, reduced by the worker; `profileDoneSchema` says what the arrays hold.
 */
export interface AttentionMasses {
  readonly layers: number;
  readonly heads: number;
  readonly rows: number;
  readonly columns: number;
  readonly mass: Float32Array;
  readonly otherMass: Float32Array;
  readonly rowStartMass: Float32Array;
  readonly rowStartTotal: Float32Array;
}

/** RGB, 8 bits, row by row. */
export interface Pixels {
  readonly width: number;
  readonly height: number;
  readonly data: Uint8Array;
}
