import { allCacheRows, allocateRows, type CacheRows, freeRows } from "./cache-rows.ts";
import { type Image, isCancelled, type LiveImage } from "./image.ts";
import { cancelled, failImage, type ImageQueue } from "./image-queue.ts";

/** The images that hold cache rows of one worker, and the rows that are free. */
export class Admission {
  readonly #queue: ImageQueue;
  readonly #release: (sequence: number) => void;
  /** Beside the live images those that got rows and whose prompt is being encoded. */
  #admitted: readonly Image[] = [];
  #live: readonly LiveImage[] = [];
  #rows: CacheRows;
  /** Memory did not suffice for one image more; it may once another one has left. */
  #isShortOfMemory = false;

  /** @param release called when an image leaves that holds a sequence of the worker */
  constructor(cacheRowCount: number, queue: ImageQueue, release: (sequence: number) => void) {
    this.#rows = allCacheRows(cacheRowCount);
    this.#queue = queue;
    this.#release = release;
  }

  get isEmpty(): boolean {
    return this.#admitted.length === 0;
  }

  get imageCount(): number {
    return this.#admitted.length;
  }

  /** The images that hold cache rows, in the order in which they were admitted. */
  get live(): readonly LiveImage[] {
    return this.#live;
  }

  /** Cache rows of the worker, free or not. */
  get rowCount(): number {
    return this.#rows.rowCount;
  }

  get freeRowCount(): number {
    return this.#rows.free.length;
  }

  /** Images of so many branches that could be admitted now. */
  roomFor(branchCount: number): number {
    return this.#isShortOfMemory ? 0 : Math.floor(this.#rows.free.length / branchCount);
  }

  /** Takes an image out of the queue, for which there is room; its cache rows. */
  admit(image: Image): readonly number[] {
    const { rows, allocated } = allocateRows(this.#rows, image.branchCount);
    this.#queue.take(image);
    this.#admitted = [...this.#admitted, image];
    this.#rows = rows;
    return allocated;
  }

  goLive(live: LiveImage): void {
    this.#live = [...this.#live, live];
  }

  /** An image that was admitted could not start: it waits again, first in line, for this worker or another one. */
  putBack(image: Image, cacheRows: readonly number[], { isShortOfMemory = false } = {}): void {
    this.#admitted = this.#admitted.filter((other) => other !== image);
    this.#rows = freeRows(this.#rows, cacheRows);
    this.#isShortOfMemory = isShortOfMemory;
    this.#queue.putBack([image]);
  }

  /** The worker was lost: the live images, which are returned, wait again, first in line, and no row is taken. */
  returnLive(): readonly Image[] {
    const images = this.#live.map(({ image }) => image);
    this.resize(this.#rows.rowCount);
    this.#queue.putBack(images);
    return images;
  }

  /** Another worker stands in the place of the lost one. */
  resize(cacheRowCount: number): void {
    this.#admitted = [];
    this.#live = [];
    this.#rows = allCacheRows(cacheRowCount);
    this.#isShortOfMemory = false;
  }

  /** Frees what an image holds, here at once and in the worker before its next forward. */
  leave(image: Image): void {
    image.hasLeft = true;
    this.#queue.take(image); // a listener may have thrown between the loss of a worker and the start of another
    this.#admitted = this.#admitted.filter((other) => other !== image);
    const live = this.#live.find((other) => other.image === image);
    if (live === undefined) return;
    this.#live = this.#live.filter((other) => other !== live);
    this.#rows = freeRows(this.#rows, live.cacheRows);
    this.#isShortOfMemory = false;
    this.#release(live.sequence);
  }

  /** An image leaves with an error, and with what was decoded of it. */
  fail(image: Image, error: unknown): void {
    this.leave(image);
    failImage(image, error);
  }

  /** The same for an image that was admitted and did not go live. */
  refuse(image: Image, cacheRows: readonly number[], error: unknown): void {
    this.#rows = freeRows(this.#rows, cacheRows);
    this.fail(image, error);
  }

  failAll(error: unknown): void {
    for (const image of this.#admitted) this.fail(image, error);
  }

  /** Lets the live images go that were cancelled, or have left where this worker was not asked. */
  dropLeavers(): void {
    for (const { image } of this.#live) {
      if (image.hasLeft) this.leave(image);
      else if (isCancelled(image)) this.fail(image, cancelled(image));
    }
  }
}
