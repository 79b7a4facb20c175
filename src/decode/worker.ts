import type { ZiparError } from "../errors.ts";
import type { ModelCard } from "../protocol/messages.ts";
import type { QueryResult } from "../schedule/step-outcome.ts";
import type { Query } from "../schedule/step-plan.ts";

/** A loaded model that executes what the decode loop plans: a worker process, or the stub in this process. */
export interface Worker {
  readonly card: ModelCard;
  /** e.g. "cpu", "cuda:0 NVIDIA H100", "stub". */
  readonly device: string;
  readonly dtype: string;
  /** Process id; undefined where there is no process on this machine. */
  readonly pid: number | undefined;
  /** Rows of the K/V cache: each branch of each image takes one. */
  readonly cacheRowCount: number;
  /** What the worker was lost to; undefined while it runs. Every request fails once it is set. */
  failure(): ZiparError | undefined;
  /** Whether it ends as soon as it holds no images, and takes no new ones. */
  readonly isLeaving?: boolean;
  /** Ends it, within a few seconds whatever state it is in. Safe to call twice. */
  stop(): Promise<void>;
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
  readonly conditioning: Conditioning;
}

/** What an image is made from. */
export type Conditioning =
  | { readonly type: "class"; readonly classIndex: number }
  | {
      readonly type: "text";
      readonly prompt: string;
      /** null: the family's own. */
      readonly negativePrompt: string | null;
    };

export interface ForwardStep {
  readonly sequence: number;
  /** What is fed, in order, and the written slots once the forward has run, as runs [first, end), flattened. */
  readonly plan: { readonly queries: readonly Query[]; readonly runs: Int32Array };
  readonly sampling: Sampling;
  /** Branches that run, as ascending indices; without a value all that the sequence has. */
  readonly branches?: readonly number[];
}

/** How logits become a token: guidance, temperature, top-k, top-p, in that order. */
export interface Sampling {
  readonly guidanceScale: number;
  /** 0 is greedy. */
  readonly temperature: number;
  /** 0 turns it off. */
  readonly topK: number;
  /** 1 turns it off. */
  readonly topP: number;
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
