/** What the parts of the harness tell each other. Rows and observations cross process borders: plain data only. */
import type { EngineOptions, GenerateOptions } from "#zipar/index";

/** "group": a small checkpoint, split over two processes. */
export type WorkerKind = "stub" | "demo" | "group";
/** Of a worker's life: `python-worker/zipar_testing/faults/plan.py` says when each begins. */
export type Phase =
  | "start"
  | "load"
  | "encode-prompt"
  | "prefill"
  | "decode"
  | "rebuild"
  | "decode-image"
  | "idle";
/** What a loss is noticed by. */
export type Signal = "exit" | "heartbeat" | "deadline" | "fatal" | "protocol";
/** The generations of a row: one, or more of every kind than fit at once. */
export type ImageSet = "one" | "many";

/** As `python-worker/zipar_testing/faults/plan.py` reads it, which has the defaults. */
export interface PlannedFault {
  readonly fault: string;
  readonly at: Phase;
  readonly nth?: number;
  readonly times?: number;
  readonly firstIncarnation?: number;
  readonly lastIncarnation?: number;
  readonly ms?: number;
  readonly moreThan?: number;
  readonly rank?: number;
}

export interface Expectation {
  /** In the words of `verdict.ts`. */
  readonly ends: string;
  readonly signal?: Signal | undefined;
  readonly withinMs?: number | undefined;
}

/** Workers that dial in. Only the first of them has faults: it is told to leave, or its network splits. */
export interface RemotePlan {
  /** Seconds for the images of a worker that shall leave. */
  readonly drain: number;
  /** How long the network between the engine and the first worker carries nothing. */
  readonly splitMs?: number;
  /** Whether a worker comes into the first one's place: another one, or itself when its network is whole again. */
  readonly returns?: boolean;
}

/** What a lane does under watch: a row of the table, or a stream of a soak. */
export interface Task {
  readonly worker: WorkerKind;
  readonly faults: readonly PlannedFault[];
  readonly engine: EngineOptions;
  readonly remote?: RemotePlan;
  /** After which it is given up as hung. */
  readonly limitMs: number;
}

/** A row without an expectation: a run without faults, with which others are compared. */
export interface CalmRow extends Task {
  readonly id: number;
  readonly name: string;
  readonly phase: Phase;
  readonly images: ImageSet;
}

export interface Row extends CalmRow {
  readonly expected: Expectation;
}

export interface SoakPlan extends Task {
  readonly seed: number;
  readonly requests: readonly SoakRequest[];
}

export interface SoakRequest {
  readonly options: GenerateOptions;
  readonly afterMs: number;
  readonly cancelAtForward: number | undefined;
}

/** What became of one image. `askedAt` is when the request after an idle worker's fault was made. */
export type Outcome = (Drawn | Failure) & { readonly askedAt?: number };

export interface Drawn {
  readonly digest: string;
}

export interface Failure {
  readonly code: string;
  readonly message: string;
  readonly time: number;
}

/** What a lane saw, whether or not it is right. Times are those of `Date.now()`. */
export interface Observed {
  /** The lane's own process did not survive. */
  readonly lost?: "hung" | "crashed";
  readonly message?: string;
  readonly outcomes: readonly Outcome[];
  /** Of a soak: digests of the same images without faults. */
  readonly expected?: readonly string[];
  readonly restartCount: number;
  readonly strikes: readonly { readonly fault: string; readonly at: Phase; readonly time: number }[];
  readonly notices: readonly { readonly message: string; readonly time: number }[];
  /** What is left: ids of processes, names of directories. */
  readonly processes: readonly number[];
  readonly directories: readonly string[];
}

export interface Verdict {
  readonly ends: string;
  /** From the strike to its notice. */
  readonly noticedMs?: number;
  readonly signal?: Signal | undefined;
  /** Why it is not what the table expects; empty for an explained row. */
  readonly complaints: readonly string[];
}

export interface RowOutcome {
  readonly row: Row;
  readonly verdict: Verdict;
  readonly observed: Observed;
}
