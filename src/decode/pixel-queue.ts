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

/** A job on its way. */
export interface QueuedPixels {
  readonly job: PixelJob;
  lossCount: number;
  /** Memory did not suffice beside other work: it is asked for again when there is none. */
  needsRoom: boolean;
}

export interface PixelEvents {
  /** What the worker was lost to, if it was. */
  loss(): ZiparError | undefined;
  /** The worker was lost that was asked for a grid. */
  onLost(pixels: QueuedPixels): void;
  /** A grid has to be asked for. */
  onWaiting(): void;
  /** One that was asked for is done with. */
  onSettled(): void;
}

/** Token grids that one worker was asked to decode or shall be. */
export class PixelQueue {
  #waiting: QueuedPixels[] = [];
  readonly #asked = new Set<QueuedPixels>();
  readonly #events: PixelEvents;

  constructor(events: PixelEvents) {
    this.#events = events;
  }

  /** Whether `ask` would ask for something. */
  hasWork(isIdle: boolean): boolean {
    return this.#waiting.some((queued) => this.#mayAsk(queued, isIdle));
  }

  get isEmpty(): boolean {
    return this.#asked.size === 0 && this.#waiting.length === 0;
  }

  add(job: PixelJob): void {
    this.put({ job, lossCount: 0, needsRoom: false });
  }

  put(pixels: QueuedPixels): void {
    this.#waiting.push(pixels);
    this.#events.onWaiting();
  }

  /** Takes out what waits. */
  returnWaiting(): readonly QueuedPixels[] {
    const waiting = this.#waiting;
    this.#waiting = [];
    return waiting;
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

  #mayAsk({ needsRoom }: QueuedPixels, isIdle: boolean): boolean {
    return !needsRoom || (isIdle && this.#asked.size === 0);
  }

  #settle(queued: QueuedPixels, then: () => void): void {
    if (!this.#asked.delete(queued)) return; // it was failed meanwhile
    then();
    this.#events.onSettled();
  }

  #refuse(queued: QueuedPixels, error: unknown): void {
    const loss = this.#events.loss();
    if (loss !== undefined) {
      queued.lossCount += 1;
      if (queued.lossCount < LOSS_LIMIT) this.#events.onLost(queued);
      else queued.job.onError(lostTooOften("decoding the tokens of an image", queued.lossCount, loss));
    } else if (isOutOfMemory(error) && !queued.needsRoom) {
      this.#waiting.push({ ...queued, needsRoom: true });
    } else {
      queued.job.onError(error);
    }
  }
}
