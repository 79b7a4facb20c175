import type { ResolvedGeneration } from "../api/generate-options.ts";
import { ZiparError } from "../errors.ts";
import { commitStep, type QueryResult, type StepOutcome } from "../schedule/commit-step.ts";
import { planStep, type StepPlan } from "../schedule/plan-step.ts";
import { randomKey } from "../schedule/random.ts";
import { isComplete, type SequenceState, startSequence } from "../schedule/sequence-state.ts";
import { branchesOf, leftOutBranches } from "./branches.ts";
import { allCacheRows, allocateRows, type CacheRows, canAllocateRows, freeRows } from "./cache-rows.ts";
import { PictureQueue } from "./pixel-queue.ts";
import { isOutOfMemory, lostTooOften, rebuild, withDecoded } from "./rebuild-cache.ts";
import type { Supervisor } from "./supervisor.ts";
import type { Pixels } from "./worker.ts";

/** The first of the sequence ids that no decode loop reaches: for what else uses an idle worker. */
export const FIRST_SPARE_SEQUENCE = 2 ** 40;

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
  /** The worker was lost while it held this image; decoding goes on in another one. */
  onWorkerLost(reason: ZiparError): void;
  /** Another worker holds the image again; so many forwards, shared with other images, rebuilt its K/V. */
  onWorkerRestored(forwardCount: number): void;
  onDone(state: SequenceState, pixels: Pixels | undefined): void;
  onError(error: unknown): void;
}

/** An image that waits for cache rows: for its first ones, or for those in a new worker. */
interface QueuedImage {
  readonly job: DecodeJob;
  /** How far it was decoded; undefined before its prompt was first encoded. */
  readonly state: SequenceState | undefined;
  /** Workers that were lost in a row over the same work of this image. */
  readonly lossCount: number;
}

/** An image that holds cache rows. */
interface LiveSequence {
  readonly job: DecodeJob;
  readonly sequence: number;
  readonly cacheRows: readonly number[];
  readonly state: SequenceState;
  lossCount: number;
  /** Whether a forward left branches out, whose K/V are missing since. */
  lacksBranches: boolean;
}

/** An image whose work has cost so many workers in a row is given up, so that the others can go on. */
const LOSS_LIMIT = 3;

/**
 * The main path: many images at once, `plan -> forward -> commit` until every grid is full.
 * Images join in order as soon as cache rows are free, and leave when they are complete, cancelled or failed.
 * When the worker is lost they queue again, first in line, and go on at the same step in another one.
 */
export class DecodeLoop {
  readonly #supervisor: Supervisor;
  readonly #queueLimit: number;
  readonly #pictures: PictureQueue;
  #queued: QueuedImage[] = [];
  #live: LiveSequence[] = [];
  #undelivered: { readonly live: LiveSequence; readonly step: CommittedStep }[] = [];
  #rows: CacheRows;
  #nextSequence = 1;
  /** Images that share a forward; fewer than are live once memory did not suffice for more. */
  #batchLimit = Number.POSITIVE_INFINITY;
  #running: Promise<void> | undefined;
  #isRecovering = false;
  #closedBy: unknown;

  constructor(supervisor: Supervisor, queueLimit: number) {
    this.#supervisor = supervisor;
    this.#queueLimit = queueLimit;
    this.#rows = allCacheRows(supervisor.worker.cacheRowCount);
    this.#pictures = new PictureQueue(
      LOSS_LIMIT,
      () => supervisor.failure(),
      () => this.#wake(),
    );
  }

  /** @throws ZiparError `queue-full`, `engine-closed` */
  submit(job: DecodeJob): void {
    if (this.#closedBy !== undefined) throw this.#closedBy;
    const startable = Math.floor(this.#rows.free.length / this.#supervisor.worker.card.branches.length);
    const waiting = this.#queued.filter(({ state }) => state === undefined).length;
    if (waiting >= this.#queueLimit + startable) {
      throw new ZiparError({
        code: "queue-full",
        message:
          `${waiting} images are waiting already and the queue holds ${this.#queueLimit}; ` +
          "wait for some to finish, or raise the engine's `maxQueue`",
      });
    }
    this.#queued.push({ job, state: undefined, lossCount: 0 });
    job.options.signal?.addEventListener("abort", () => this.#isRecovering && this.#dropCancelled());
    this.#wake();
  }

  /** Fails everything queued and live; nothing can be submitted any more. */
  close(error: unknown): void {
    this.#closedBy ??= error;
    this.#failAll(this.#closedBy);
  }

  #wake(): void {
    this.#running ??= this.#run().catch((error: unknown) => this.close(error)); // a broken invariant: nothing can go on
  }

  async #run(): Promise<void> {
    await Promise.resolve(); // calls made in the same tick share the first forward
    try {
      while (this.#queued.length + this.#live.length > 0 || this.#pictures.hasWork(this.#live.length === 0)) {
        this.#dropCancelled();
        if (this.#supervisor.failure() !== undefined) await this.#recover();
        this.#pictures.ask(this.#supervisor.worker, this.#live.length === 0);
        await this.#admit();
        if (this.#supervisor.failure() !== undefined) continue;
        if (this.#live.length > 0) await this.#step(await this.#withBranches(this.#nextBatch()));
      }
    } finally {
      this.#running = undefined; // at once: what is submitted a moment later must find a loop that runs or none
    }
  }

  /** An image that has cost workers is stepped alone, to see whether it is at fault. */
  #nextBatch(): readonly LiveSequence[] {
    const suspect = this.#live.find(isSuspect);
    return suspect === undefined ? this.#live.slice(0, this.#batchLimit) : [suspect];
  }

  /** Guidance that comes on needs the branches that did not run while it was off. */
  async #withBranches(batch: readonly LiveSequence[]): Promise<readonly LiveSequence[]> {
    const lacking = batch.filter((live) => live.lacksBranches && branchesOf(live).length > 1);
    if (lacking.length === 0) return batch;
    await this.#rebuild(lacking, leftOutBranches);
    return this.#supervisor.failure() === undefined ? batch.filter((live) => this.#live.includes(live)) : [];
  }

  async #step(batch: readonly LiveSequence[]): Promise<void> {
    if (batch.length === 0) return;
    const steps = batch.map((live) => {
      const { sequence, cacheRows, state, job } = live;
      const branches = branchesOf(live);
      live.lacksBranches ||= branches.length < cacheRows.length;
      return { sequence, plan: planStep(state), sampling: job.options.sampling, branches };
    });
    const forward = this.#supervisor.worker.forward(steps).catch((error: unknown) => ({ error }));
    this.#deliver(); // while the worker runs this forward, listeners learn of the last one
    const results = await forward;
    if (this.#closedBy !== undefined) return;
    if ("error" in results) return this.#stepFailed(batch, results.error);
    for (const [k, live] of batch.entries()) {
      const { state, job } = live;
      if (job.options.signal?.aborted || !this.#live.includes(live)) continue;
      this.#commit(live, (steps[k] as (typeof steps)[number]).plan, results[k] ?? []);
      if (isComplete(state)) this.#finish(live);
      else if (previewForwards(state, job.options.partialImages).includes(state.forwardCount))
        this.#preview(live);
    }
  }

  /** A forward failed: with the worker, or for want of memory, or over one of its images, which halving finds. */
  async #stepFailed(batch: readonly LiveSequence[], error: unknown): Promise<void> {
    const loss = this.#supervisor.failure();
    if (loss !== undefined) {
      for (const live of batch) this.#countLoss(live, loss);
      return;
    }
    const [only] = batch;
    if (batch.length === 1 && only !== undefined) {
      if (this.#live.includes(only)) this.#fail(only, error);
      return;
    }
    const half = Math.ceil(batch.length / 2);
    if (isOutOfMemory(error)) this.#batchLimit = half;
    for (const part of [batch.slice(0, half), batch.slice(half)]) {
      const left = part.filter((live) => this.#live.includes(live) && !live.job.options.signal?.aborted);
      if (left.length > 0 && this.#supervisor.failure() === undefined) await this.#step(left);
    }
  }

  #countLoss(live: LiveSequence, loss: ZiparError): void {
    if (!this.#live.includes(live)) return;
    live.lossCount += 1;
    if (live.lossCount < LOSS_LIMIT) return;
    const step = `forward ${live.state.forwardCount + 1} of an image`;
    this.#fail(live, withDecoded(lostTooOften(step, live.lossCount, loss), live.state));
  }

  #commit(live: LiveSequence, plan: StepPlan, results: readonly QueryResult[]): void {
    try {
      this.#undelivered.push({
        live,
        step: { plan, results, outcome: commitStep(live.state, plan, results) },
      });
      live.lossCount = 0;
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

  /** Puts another worker in the place of the lost one. Every live image queues again, first in line. */
  async #recover(): Promise<void> {
    const loss = this.#supervisor.failure() as ZiparError;
    this.#deliver();
    const lost = this.#live;
    this.#live = [];
    this.#rows = allCacheRows(this.#rows.rowCount);
    this.#queued = [...lost.map(({ job, state, lossCount }) => ({ job, state, lossCount })), ...this.#queued];
    for (const { job } of lost) job.onWorkerLost(loss);
    this.#isRecovering = true;
    try {
      await this.#supervisor.replace();
      this.#rows = allCacheRows(this.#supervisor.worker.cacheRowCount);
      this.#batchLimit = Number.POSITIVE_INFINITY;
    } catch (error) {
      this.#failAll(error);
    } finally {
      this.#isRecovering = false;
    }
  }

  /** Gives cache rows to as many queued images as there are rows for. Those of a lost worker get their K/V again. */
  async #admit(): Promise<void> {
    const returning: LiveSequence[] = [];
    while (this.#closedBy === undefined && this.#supervisor.failure() === undefined) {
      const queued = this.#queued[0];
      if (queued === undefined) break;
      const branchCount =
        queued.job.options.sampling.guidanceScale === 1 ? 1 : this.#supervisor.worker.card.branches.length;
      if (branchCount > this.#rows.rowCount) {
        this.#queued.shift();
        queued.job.onError(cacheTooSmall(branchCount, this.#rows.rowCount));
        continue;
      }
      if (!canAllocateRows(this.#rows, branchCount)) break;
      this.#queued.shift();
      const { rows, allocated } = allocateRows(this.#rows, branchCount);
      this.#rows = rows;
      const live = await this.#start(queued, allocated);
      if (live === undefined && this.#queued[0] === queued) break; // it waits until others have made room
      if (live === undefined) continue;
      this.#live.push(live);
      if (live.state.forwardCount > 0) returning.push(live);
    }
    if (returning.length === 0 || this.#supervisor.failure() !== undefined) return;
    for (const { live, forwardCount } of await this.#rebuild(returning, branchesOf))
      live.job.onWorkerRestored(forwardCount);
  }

  async #start(queued: QueuedImage, cacheRows: readonly number[]): Promise<LiveSequence | undefined> {
    const { job, lossCount } = queued;
    const sequence = this.#nextSequence++;
    const { grid, conditioning } = job.options;
    if (queued.state === undefined && lossCount === 0) job.onStart();
    try {
      const { promptLength } = await this.#supervisor.worker.encodePrompt({
        sequence,
        cacheRows,
        rows: grid.rows,
        columns: grid.columns,
        conditioning,
      });
      if (this.#closedBy !== undefined) throw this.#closedBy;
      const state =
        queued.state ?? startImage(job.options, promptLength, this.#supervisor.worker.card.codeCount);
      if (state.promptLength !== promptLength) throw otherPrompt(state.promptLength, promptLength);
      return { job, sequence, cacheRows, state, lossCount, lacksBranches: false };
    } catch (error) {
      this.#rows = freeRows(this.#rows, cacheRows);
      const loss = this.#closedBy === undefined ? this.#supervisor.failure() : undefined;
      if (loss === undefined && isOutOfMemory(error) && this.#live.length > 0) this.#queued.unshift(queued);
      else if (loss === undefined) job.onError(withDecoded(error, queued.state));
      else if (lossCount + 1 < LOSS_LIMIT) this.#queued.unshift({ ...queued, lossCount: lossCount + 1 });
      else job.onError(withDecoded(lostTooOften("encoding a prompt", LOSS_LIMIT, loss), queued.state));
      return undefined;
    }
  }

  /**
   * Writes K/V of some branches again; returns the images for which that was done. One that has cost workers is rebuilt
   * alone, to see whether it is at fault.
   */
  async #rebuild(
    lacking: readonly LiveSequence[],
    branches: (live: LiveSequence) => readonly number[],
  ): Promise<readonly { readonly live: LiveSequence; readonly forwardCount: number }[]> {
    const rebuilt: { readonly live: LiveSequence; readonly forwardCount: number }[] = [];
    const suspects = lacking.filter(isSuspect);
    for (const group of [lacking.filter((live) => !isSuspect(live)), ...suspects.map((live) => [live])]) {
      const sequences = group.map((live) => ({
        ...live,
        sampling: live.job.options.sampling,
        branches: branches(live),
        live,
      }));
      const { forwardCount, failures } = await rebuild(this.#supervisor.worker, sequences);
      if (this.#closedBy !== undefined) return [];
      const loss = this.#supervisor.failure();
      for (const sequence of sequences) {
        const { live } = sequence;
        if (loss !== undefined) this.#countLoss(live, loss);
        else if (failures.has(sequence)) this.#fail(live, withDecoded(failures.get(sequence), live.state));
        else rebuilt.push({ live, forwardCount });
      }
      if (loss !== undefined) return rebuilt;
    }
    for (const { live } of rebuilt) live.lacksBranches = branchesOf(live).length < live.cacheRows.length;
    return rebuilt;
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
    this.#pictures.add({
      tokens: state.tokens,
      rows,
      columns,
      deliver: (pixels) => job.onDone(state, pixels),
      fail: (error) => job.onError(withDecoded(error, state)),
    });
  }

  #preview({ job, state }: LiveSequence): void {
    const { rows, columns } = state.grid;
    const tokens = state.tokens.slice();
    const decodedCounts = state.decodedCounts.slice();
    const { forwardCount } = state;
    this.#pictures.add({
      tokens,
      rows,
      columns,
      deliver: (pixels) => job.onPartialImage(pixels, { ...state, tokens, decodedCounts, forwardCount }),
      fail: (error) => this.#failJob(job, error),
    });
  }

  #failJob(job: DecodeJob, error: unknown): void {
    const live = this.#live.find((other) => other.job === job);
    this.#queued = this.#queued.filter((queued) => queued.job !== job);
    if (live === undefined) job.onError(error);
    else this.#fail(live, error);
  }

  #dropCancelled(): void {
    const isCancelled = ({ job }: { readonly job: DecodeJob }) => job.options.signal?.aborted === true;
    const dropped = this.#queued.filter(isCancelled);
    this.#queued = this.#queued.filter((queued) => !isCancelled(queued));
    for (const { job } of dropped) job.onError(cancelled(job));
    for (const live of this.#live.filter(isCancelled)) this.#fail(live, cancelled(live.job));
  }

  /** Frees what a sequence holds, here at once and in the worker before its next forward. */
  #leave(live: LiveSequence): void {
    this.#live = this.#live.filter((other) => other !== live);
    this.#rows = freeRows(this.#rows, live.cacheRows);
    this.#supervisor.worker.release([live.sequence]).catch(() => {
      // the worker is gone, and with it the sequence; the loop learns of that by its next request
    });
  }

  #failAll(error: unknown): void {
    const images = [...this.#live, ...this.#queued];
    this.#live = [];
    this.#queued = [];
    for (const { job, state } of images) job.onError(withDecoded(error, state));
    this.#pictures.close(error);
  }
}

function isSuspect({ lossCount }: LiveSequence): boolean {
  return lossCount === LOSS_LIMIT - 1;
}

function startImage(options: ResolvedGeneration, promptLength: number, codeCount: number): SequenceState {
  const { grid, window, seed, refreshRowEnds, surrogate } = options;
  return startSequence({
    grid,
    promptLength,
    codeCount,
    window,
    refreshRowEnds,
    surrogate,
    key: randomKey(seed),
  });
}

function otherPrompt(expected: number, received: number): ZiparError {
  return new ZiparError({
    code: "internal",
    message:
      `a new worker encodes the same prompt to ${received} positions, the lost one to ${expected}; ` +
      "the checkpoint has changed on disk: start another engine",
  });
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
