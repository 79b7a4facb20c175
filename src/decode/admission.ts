import { ZiparError } from "../errors.ts";
import { allCacheRows, allocateRows, type CacheRows, canAllocateRows, freeRows } from "./cache-rows.ts";
import { type Image, isCancelled, type LiveImage, withDecoded } from "./image.ts";

/** All images of a decode loop: those that wait for cache rows, in order, and those that hold some. */
export class Admission {
  readonly #queueLimit: number;
  readonly #release: (sequence: number) => void;
  readonly #images = new Set<Image>();
  #waiting: readonly Image[] = [];
  #live: readonly LiveImage[] = [];
  #rows: CacheRows;

  /**
   * @param queueLimit images that may wait though there is no row for them
   * @param release called when an image leaves that holds a sequence of the worker
   */
  constructor(cacheRowCount: number, queueLimit: number, release: (sequence: number) => void) {
    this.#rows = allCacheRows(cacheRowCount);
    this.#queueLimit = queueLimit;
    this.#release = release;
  }

  get isEmpty(): boolean {
    return this.#images.size === 0;
  }

  /** The images that hold cache rows, in the order in which they were admitted. */
  get live(): readonly LiveImage[] {
    return this.#live;
  }

  /** The image whose turn it is to be admitted. */
  get next(): Image | undefined {
    return this.#waiting[0];
  }

  /** Cache rows of the worker, free or not. */
  get rowCount(): number {
    return this.#rows.rowCount;
  }

  /**
   * A new image goes to the end of the queue.
   * @param branchCount cache rows that an image takes at most
   * @throws ZiparError `queue-full`
   */
  add(image: Image, branchCount: number): void {
    const startable = Math.floor(this.#rows.free.length / branchCount);
    const waiting = this.#waiting.filter(({ state }) => state === undefined).length;
    if (waiting >= this.#queueLimit + startable) throw queueFull(waiting, this.#queueLimit);
    this.#images.add(image);
    this.#waiting = [...this.#waiting, image];
  }

  /** Takes the image whose turn it is out of the queue; its cache rows, or undefined where too few are free. */
  admitNext(branchCount: number): readonly number[] | undefined {
    if (!canAllocateRows(this.#rows, branchCount)) return undefined;
    this.#waiting = this.#waiting.slice(1);
    const { rows, allocated } = allocateRows(this.#rows, branchCount);
    this.#rows = rows;
    return allocated;
  }

  goLive(live: LiveImage): void {
    this.#live = [...this.#live, live];
  }

  /** An image that was admitted could not start: it is the next one again. */
  putBack(image: Image): void {
    this.#waiting = [image, ...this.#waiting];
  }

  free(cacheRows: readonly number[]): void {
    this.#rows = freeRows(this.#rows, cacheRows);
  }

  /** The worker was lost: the live images, which are returned, wait again, first in line, and no row is taken. */
  returnLive(): readonly Image[] {
    const images = this.#live.map(({ image }) => image);
    this.#live = [];
    this.#waiting = [...images, ...this.#waiting];
    this.#rows = allCacheRows(this.#rows.rowCount);
    return images;
  }

  /** Another worker stands in the place of the lost one. */
  resize(cacheRowCount: number): void {
    this.#rows = allCacheRows(cacheRowCount);
  }

  /** Frees what an image holds, here at once and in the worker before its next forward. */
  leave(image: Image): void {
    image.hasLeft = true;
    this.#images.delete(image);
    this.#waiting = this.#waiting.filter((other) => other !== image);
    const live = this.#live.find((other) => other.image === image);
    if (live === undefined) return;
    this.#live = this.#live.filter((other) => other !== live);
    this.free(live.cacheRows);
    this.#release(live.sequence);
  }

  /** An image leaves with an error, and with what was decoded of it. */
  fail(image: Image, error: unknown): void {
    this.leave(image);
    image.job.onError(withDecoded(error, image.state));
  }

  failAll(error: unknown): void {
    for (const image of [...this.#images]) this.fail(image, error);
  }

  dropCancelled(): void {
    for (const image of [...this.#images].filter(isCancelled)) this.fail(image, cancelled(image));
  }
}

function queueFull(waiting: number, limit: number): ZiparError {
  return new ZiparError({
    code: "queue-full",
    message:
      `${waiting} images are waiting already and the queue holds ${limit}; ` +
      "wait for some to finish, or raise the engine's `maxQueue`",
  });
}

function cancelled({ job }: Image): ZiparError {
  return new ZiparError({
    code: "cancelled",
    message: "the generation was cancelled",
    cause: job.options.signal?.reason,
  });
}
