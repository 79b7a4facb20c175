import { ZiparError } from "./errors.ts";
import { branchesOf, rebuildBranches } from "./guided-branches.ts";
import { allCacheRows, allocateRows, type CacheRows, canAllocateRows, freeRows } from "./kv/cache-rows.ts";
import type { ResolvedGeneration, Sampling } from "./options.ts";
import { commitStep, type QueryResult, type StepOutcome } from "./schedule/commit-step.ts";
import { planStep, type StepPlan } from "./schedule/plan-step.ts";
import { randomKey } from "./schedule/random.ts";
import { isComplete, type SequenceState, startSequence } from "./schedule/sequence-state.ts";

/** The first of the sequence ids that no decode loop reaches: for what else uses an idle forwarder. */
export const FIRST_SPARE_SEQUENCE = 2 ** 40;

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

/** One image's part of a forward: as it was planned, answered (in query order) and committed. */
export interface CommittedStep {
  readonly plan: StepPlan;
  readonly results: readonly QueryResult[];
  readonly outcome: StepOutcome;
}

/** One image that somebody waits for. */
export interface DecodeJob {
  readonly options: ResolvedGeneration;
  /** The image got its cache rows. */
  onStart(): void;
  onStep(state: SequenceState, step: CommittedStep): void;
  onPartialImage(pixels: Pixels, state: SequenceState): void;
  onDone(state: SequenceState, pixels: Pixels | undefined): void;
  onError(error: unknown): void;
}

interface LiveSequence {
  readonly job: DecodeJob;
  readonly sequence: number;
  readonly cacheRows: readonly number[];
  readonly state: SequenceState;
  /** Forwards after which a preview is due. */
  readonly previews: readonly number[];
  /** Whether a forward left branches out, whose K/V are missing since. */
  lacksBranches: boolean;
}

/**
 * The main path: many images at once, `plan -> forward -> commit` until every grid is full.
 * Images join in order as soon as cache rows are free, and leave when they are complete, cancelled or failed.
 */
export class DecodeLoop {
  readonly #forwarder: Forwarder;
  readonly #queueLimit: number;
  #queued: DecodeJob[] = [];
  #live: LiveSequence[] = [];
  #undelivered: { readonly live: LiveSequence; readonly step: CommittedStep }[] = [];
  #rows: CacheRows;
  #nextSequence = 1;
  #running: Promise<void> | undefined;
  #closedBy: unknown;

  constructor(forwarder: Forwarder, queueLimit: number) {
    this.#forwarder = forwarder;
    this.#queueLimit = queueLimit;
    this.#rows = allCacheRows(forwarder.cacheRowCount);
  }

  /** @throws ZiparError `queue-full`, `engine-closed` */
  submit(job: DecodeJob): void {
    if (this.#closedBy !== undefined) throw this.#closedBy;
    const startable = Math.floor(this.#rows.free.length / this.#forwarder.branchCount);
    if (this.#queued.length >= this.#queueLimit + startable) {
      throw new ZiparError({
        code: "queue-full",
        message:
          `${this.#queued.length} images are waiting already and the queue holds ${this.#queueLimit}; ` +
          "wait for some to finish, or raise the engine's `maxQueue`",
      });
    }
    this.#queued.push(job);
    this.#running ??= this.#run().catch((error: unknown) => this.close(error)); // a broken invariant: nothing can go on
  }

  /** Fails everything queued and live; nothing can be submitted any more. */
  close(error: unknown): void {
    this.#closedBy ??= error;
    for (const job of this.#queued) job.onError(this.#closedBy);
    for (const { job } of this.#live) job.onError(this.#closedBy);
    this.#queued = [];
    this.#live = [];
  }

  async #run(): Promise<void> {
    await Promise.resolve(); // calls made in the same tick share the first forward
    try {
      while (this.#queued.length + this.#live.length > 0) {
        this.#dropCancelled();
        await this.#admit();
        if (this.#live.length > 0) await this.#rebuildBranches(this.#live);
        if (this.#live.length > 0) await this.#step(this.#live);
      }
    } finally {
      this.#running = undefined; // at once: what is submitted a moment later must find a loop that runs or none
    }
  }

  /** Guidance that comes on needs the branches that did not run while it was off. */
  async #rebuildBranches(batch: readonly LiveSequence[]): Promise<void> {
    const lacking = batch.filter((live) => live.lacksBranches && branchesOf(live).length > 1);
    if (lacking.length === 0) return;
    try {
      await rebuildBranches(this.#forwarder, lacking);
      for (const live of lacking) live.lacksBranches = false;
    } catch (error) {
      for (const live of lacking) if (this.#live.includes(live)) this.#fail(live, error);
    }
  }

  async #step(batch: readonly LiveSequence[]): Promise<void> {
    const steps = batch.map((live) => {
      const { sequence, cacheRows, state, job } = live;
      const branches = branchesOf(live);
      live.lacksBranches ||= branches.length < cacheRows.length;
      return { sequence, plan: planStep(state), sampling: job.options.sampling, branches };
    });
    const forward = this.#forwarder.forward(steps).catch((error: unknown) => this.#failLive(error));
    this.#deliver(); // while the worker runs this forward, listeners learn of the last one
    const results = await forward;
    if (results === undefined || this.#closedBy !== undefined) return;
    for (const [k, live] of batch.entries()) {
      const { state, job } = live;
      if (job.options.signal?.aborted || !this.#live.includes(live)) continue;
      this.#commit(live, (steps[k] as (typeof steps)[number]).plan, results[k] ?? []);
      if (isComplete(state)) this.#finish(live);
      else if (live.previews.includes(state.forwardCount)) this.#preview(live);
    }
  }

  #commit(live: LiveSequence, plan: StepPlan, results: readonly QueryResult[]): void {
    try {
      this.#undelivered.push({
        live,
        step: { plan, results, outcome: commitStep(live.state, plan, results) },
      });
    } catch (error) {
      this.#fail(live, error); // its results break the rules: the others go on
    }
  }

  /** Tells the listeners of live images of the steps that were committed. */
  #deliver(): void {
    const steps = this.#undelivered;
    this.#undelivered = [];
    for (const { live, step } of steps) {
      if (!this.#live.includes(live)) continue;
      try {
        live.job.onStep(live.state, step);
      } catch (error) {
        this.#fail(live, error); // what listens to this image threw: the others go on
      }
    }
  }

  #fail(live: LiveSequence, error: unknown): void {
    this.#leave(live);
    live.job.onError(error);
  }

  async #admit(): Promise<void> {
    while (this.#closedBy === undefined) {
      const job = this.#queued[0];
      if (job === undefined) return;
      const branchCount = job.options.sampling.guidanceScale === 1 ? 1 : this.#forwarder.branchCount;
      if (branchCount > this.#rows.rowCount) {
        this.#queued.shift();
        job.onError(cacheTooSmall(branchCount, this.#rows.rowCount));
        continue;
      }
      if (!canAllocateRows(this.#rows, branchCount)) return;
      this.#queued.shift();
      const { rows, allocated } = allocateRows(this.#rows, branchCount);
      this.#rows = rows;
      await this.#start(job, allocated);
    }
  }

  async #start(job: DecodeJob, cacheRows: readonly number[]): Promise<void> {
    const sequence = this.#nextSequence++;
    const { grid, conditioning, window, seed, refreshRowEnds, surrogate, partialImages } = job.options;
    job.onStart();
    try {
      const { promptLength } = await this.#forwarder.encodePrompt({
        sequence,
        cacheRows,
        rows: grid.rows,
        columns: grid.columns,
        conditioning,
      });
      const state = startSequence({
        grid,
        promptLength,
        codeCount: this.#forwarder.codeCount,
        window,
        refreshRowEnds,
        surrogate,
        key: randomKey(seed),
      });
      if (this.#closedBy !== undefined) throw this.#closedBy;
      this.#live.push({
        job,
        sequence,
        cacheRows,
        state,
        previews: previewForwards(state, partialImages),
        lacksBranches: false,
      });
    } catch (error) {
      this.#rows = freeRows(this.#rows, cacheRows);
      job.onError(error);
    }
  }

  #finish(live: LiveSequence): void {
    const { job, state } = live;
    this.#deliver();
    if (!this.#live.includes(live)) return;
    this.#leave(live);
    if (!job.options.image) {
      job.onDone(state, undefined);
      return;
    }
    const { rows, columns } = state.grid;
    this.#forwarder
      .decodeImage(state.tokens, rows, columns)
      .then((pixels) => job.onDone(state, pixels), job.onError);
  }

  #preview({ job, state }: LiveSequence): void {
    const { rows, columns } = state.grid;
    const tokens = state.tokens.slice();
    const decodedCounts = state.decodedCounts.slice();
    this.#forwarder
      .decodeImage(tokens, rows, columns)
      .then((pixels) => job.onPartialImage(pixels, { ...state, tokens, decodedCounts }), job.onError);
  }

  #dropCancelled(): void {
    for (const job of this.#queued.filter(({ options }) => options.signal?.aborted))
      job.onError(cancelled(job));
    this.#queued = this.#queued.filter(({ options }) => !options.signal?.aborted);
    for (const live of this.#live.filter(({ job }) => job.options.signal?.aborted)) {
      this.#fail(live, cancelled(live.job));
    }
  }

  /** Frees what a sequence holds, here at once and in the worker before its next forward. */
  #leave(live: LiveSequence): void {
    this.#live = this.#live.filter((other) => other !== live);
    this.#rows = freeRows(this.#rows, live.cacheRows);
    this.#forwarder.release([live.sequence]).catch(() => {
      // the worker is gone, and with it the sequence; whoever waits for a forward gets that error
    });
  }

  /** A forward failed: all images that were part of it fail with it. */
  #failLive(error: unknown): undefined {
    for (const live of [...this.#live]) this.#fail(live, error);
  }
}

function cancelled(job: DecodeJob): ZiparError {
  return new ZiparError({
    code: "cancelled",
    message: "the generation was cancelled",
    cause: job.options.signal?.reason,
  });
}

function cacheTooSmall(wanted: number, available: number): ZiparError {
  return new ZiparError({
    code: "out-of-memory",
    message: `an image needs ${wanted} K/V cache rows and the worker has ${available}; raise the engine's \`maxImages\``,
  });
}

/** Evenly spread over the forwards that the fixed window takes; an adaptive one takes at least as many. */
function previewForwards({ grid, window }: SequenceState, count: number): readonly number[] {
  const forwards = grid.columns + (grid.rows - 1) * (window.kind === "fixed" ? window.size : window.min);
  return Array.from({ length: count }, (_, k) => Math.round(((k + 1) * forwards) / (count + 1)));
}
