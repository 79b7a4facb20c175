import { reasonOf, ZiparError } from "../errors.ts";
import type { Logger } from "../logger.ts";
import { chooseLane } from "./choose-lane.ts";
import type { DecodeJob, Image } from "./image.ts";
import { ImageQueue } from "./image-queue.ts";
import { DecodeLoop, type IdleWork, type Team } from "./loop.ts";
import type { QueuedPixels } from "./pixel-queue.ts";
import type { Supervisor } from "./supervisor.ts";

/** How far the cache rows of the workers are taken, and by how many images. */
export interface Occupancy {
  readonly cacheRowCount: number;
  readonly freeCacheRowCount: number;
  /** Images that hold cache rows. */
  readonly liveCount: number;
  readonly waitingCount: number;
}

/** The decode loops of an engine, one for each worker, and the queue that they share. */
export class WorkerPool implements Team {
  readonly queue: ImageQueue;
  #loops: readonly DecodeLoop[];
  readonly #logger: Logger;
  /** What it was closed with. */
  #closed: { readonly error: unknown } | undefined;

  /** @param queueLimit images that may wait though there is no room for them */
  constructor(supervisors: readonly Supervisor[], queueLimit: number, logger: Logger) {
    this.queue = new ImageQueue(queueLimit);
    this.#loops = supervisors.map((supervisor) => new DecodeLoop(supervisor, this));
    this.#logger = logger;
  }

  get loops(): readonly DecodeLoop[] {
    return this.#loops;
  }

  get isClosed(): boolean {
    return this.#closed !== undefined;
  }

  get occupancy(): Occupancy {
    const sum = (countOf: (loop: DecodeLoop) => number) =>
      this.loops.reduce((total, loop) => total + countOf(loop), 0);
    return {
      cacheRowCount: sum(({ rowCount }) => rowCount),
      freeCacheRowCount: sum(({ freeRowCount }) => freeRowCount),
      liveCount: sum(({ imageCount }) => imageCount),
      waitingCount: this.queue.images.length,
    };
  }

  /** A worker more. @throws what the pool was closed with */
  join(supervisor: Supervisor): void {
    this.#checkOpen();
    this.#loops = [...this.#loops, new DecodeLoop(supervisor, this)];
    this.wake();
  }

  /** @throws ZiparError `queue-full`, or what the pool was closed with */
  submit(job: DecodeJob, branchCount: number): void {
    this.#checkOpen();
    const image: Image = { job, branchCount, state: undefined, lossCount: 0, hasLeft: false };
    this.queue.add(
      image,
      this.loops.reduce((sum, loop) => sum + loop.roomFor(branchCount), 0),
    );
    // Somebody may have come to a place by now. Where no worker runs, waiting again would keep the images from failing.
    if (this.loops.some(({ state }) => state === "ready")) for (const loop of this.loops) loop.reopen();
    // One that is live is dropped by its loop's next turn.
    job.options.signal?.addEventListener("abort", () => this.queue.dropCancelled());
    this.wake();
  }

  /** See `DecodeLoop.whenIdle`; of the first worker that can be had. */
  whenIdle<Value>(work: IdleWork<Value>): Promise<Value> {
    const loop = this.loops.find(({ state }) => state !== "gone") ?? (this.loops[0] as DecodeLoop);
    return loop.whenIdle(work);
  }

  /** Fails every image; nothing can be submitted any more. */
  close(error: unknown): void {
    this.#closed ??= { error };
    this.queue.failAll(this.#closed.error);
    for (const loop of this.loops) loop.close(this.#closed.error);
  }

  hasWork(): boolean {
    return !this.queue.isEmpty || this.loops.some((loop) => loop.hasOwnWork());
  }

  isTurnOf(loop: DecodeLoop): boolean {
    const { next } = this.queue;
    if (next === undefined) return false;
    const chosen = chooseLane(this.loops.map((other) => other.offer(next.branchCount)));
    return chosen !== undefined && this.loops[chosen] === loop;
  }

  wake(): void {
    this.queue.dropCancelled();
    this.#refuseOversized();
    for (const loop of this.loops) loop.wake();
  }

  placePixels(pixels: QueuedPixels, loop: DecodeLoop): void {
    const ready = this.loops.find(({ state }) => state === "ready");
    (ready ?? loop).takePixels(pixels);
  }

  giveUp(loop: DecodeLoop, error: unknown): void {
    if (this.loops.every(({ state }) => state === "gone")) {
      this.queue.failAll(error);
      for (const other of this.loops) other.reset(error);
      return;
    }
    this.#logger.warn(`one worker fewer: ${reasonOf(error)}`);
    for (const pixels of loop.returnPixels()) this.placePixels(pixels, loop);
  }

  #checkOpen(): void {
    if (this.#closed !== undefined) throw this.#closed.error;
  }

  /** Images for which no worker has as many cache rows as they take. */
  #refuseOversized(): void {
    const rowCount = Math.max(...this.loops.map((loop) => loop.rowCount));
    for (const image of this.queue.images)
      if (image.branchCount > rowCount) this.queue.fail(image, cacheTooSmall(image.branchCount, rowCount));
  }
}

function cacheTooSmall(wanted: number, available: number): ZiparError {
  return new ZiparError({
    code: "out-of-memory",
    message: `an image needs ${wanted} K/V cache rows and the worker has ${available}; raise the engine's \`maxImages\``,
  });
}
