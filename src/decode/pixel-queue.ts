import type { ZiparError } from "../errors.ts";
import type { TokenGrid } from "../schedule/grid.ts";
import { isOutOfMemory } from "./rebuild-cache.ts";
import type { Pixels, Worker } from "./worker.ts";
import { LOSS_LIMIT, lostTooOften } from "./worker-lost.ts";

/** A token grid that is to become pixels: a finished image or a preview. */
export interface PixelJob {
  readonly tokens: Int32Array;
  readonly grid: TokenGrid;
  onPixels(pixels: Pixels): void;
  onError(error: unknown): void;
}

interface QueuedJob {
  readonly job: PixelJob;
  lossCount: number;
  /** Memory did not suffice beside other work: it is asked for again when there is none. */
  needsRoom: boolean;
}

/** Token grids that the worker was asked to decode or shall be. Those of a lost worker wait to be asked for again. */
export class PixelQueue {
  #waiting: QueuedJob[] = [];
  readonly #asked = new Set<QueuedJob>();
  readonly #loss: () => ZiparError | undefined;
  readonly #onWaiting: () => void;

  /** `loss` tells what the worker was lost to, if it was; `onWaiting` is called when a grid has to be asked for. */
  constructor(loss: () => ZiparError | undefined, onWaiting: () => void) {
    this.#loss = loss;
    this.#onWaiting = onWaiting;
  }

  /** Whether `ask` would ask for something. */
  hasWork(isIdle: boolean): boolean {
    return this.#waiting.some((queued) => this.#mayAsk(queued, isIdle));
  }

  add(job: PixelJob): void {
    this.#waiting.push({ job, lossCount: 0, needsRoom: false });
    this.#onWaiting();
  }

  /** Asks for what waits, without waiting for it. `isIdle`: the worker has nothing else to do. */
  ask(worker: Worker, isIdle: boolean): void {
    for (const queued of [...this.#waiting]) {
      if (!this.#mayAsk(queued, isIdle)) continue;
      this.#waiting = this.#waiting.filter((other) => other !== queued);
      this.#asked.add(queued);
      const { job } = queued;
      worker.decodeImage(job.tokens, job.grid.rows, job.grid.columns).then(
        (pixels) => this.#settle(queued, () => job.onPixels(pixels)),
        (error: unknown) => this.#settle(queued, () => this.#refuse(queued, error)),
      );
    }
  }

  /** Fails everything. */
  close(error: unknown): void {
    const all = [...this.#asked, ...this.#waiting];
    this.#waiting = [];
    this.#asked.clear();
    for (const { job } of all) job.onError(error);
  }

  #mayAsk({ needsRoom }: QueuedJob, isIdle: boolean): boolean {
    return !needsRoom || (isIdle && this.#asked.size === 0);
  }

  #settle(queued: QueuedJob, then: () => void): void {
    if (!this.#asked.delete(queued)) return; // it was failed meanwhile
    then();
    if (this.#waiting.length > 0) this.#onWaiting();
  }

  #refuse(queued: QueuedJob, error: unknown): void {
    const loss = this.#loss();
    if (loss !== undefined) {
      queued.lossCount += 1;
      if (queued.lossCount < LOSS_LIMIT) this.#waiting.push(queued);
      else queued.job.onError(lostTooOften("decoding the tokens of an image", queued.lossCount, loss));
    } else if (isOutOfMemory(error) && !queued.needsRoom) {
      this.#waiting.push({ ...queued, needsRoom: true });
    } else {
      queued.job.onError(error);
    }
  }
}
