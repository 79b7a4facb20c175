import { ZiparError } from "../errors.ts";
import { type Image, isCancelled, withDecoded } from "./image.ts";

/** The images that wait for a worker, in order. Those of a lost worker come first. */
export class ImageQueue {
  readonly #limit: number;
  #waiting: readonly Image[] = [];

  /** @param limit new images that may wait though no worker has room for them */
  constructor(limit: number) {
    this.#limit = limit;
  }

  get isEmpty(): boolean {
    return this.#waiting.length === 0;
  }

  /** The image whose turn it is. */
  get next(): Image | undefined {
    return this.#waiting[0];
  }

  get images(): readonly Image[] {
    return this.#waiting;
  }

  /**
   * A new image goes to the end.
   * @param roomCount images that the workers could begin at once
   * @throws ZiparError `queue-full`
   */
  add(image: Image, roomCount: number): void {
    const waitingCount = this.#waiting.filter(({ state }) => state === undefined).length;
    if (waitingCount >= this.#limit + roomCount) throw queueFull(waitingCount, this.#limit);
    this.#waiting = [...this.#waiting, image];
  }

  /** Images that were taken out are the next ones again, in this order. */
  putBack(images: readonly Image[]): void {
    this.#waiting = [...images, ...this.#waiting];
  }

  /** Takes an image out, if it waits. */
  take(image: Image): void {
    this.#waiting = this.#waiting.filter((other) => other !== image);
  }

  /** An image leaves with an error, and with what was decoded of it before. */
  fail(image: Image, error: unknown): void {
    this.take(image);
    failImage(image, error);
  }

  failAll(error: unknown): void {
    for (const image of this.#waiting) this.fail(image, error);
  }

  dropCancelled(): void {
    for (const image of this.#waiting.filter(isCancelled)) this.fail(image, cancelled(image));
  }
}

export function failImage(image: Image, error: unknown): void {
  image.hasLeft = true;
  image.job.onError(withDecoded(error, image.state));
}

export function cancelled({ job }: Image): ZiparError {
  return new ZiparError({
    code: "cancelled",
    message: "the generation was cancelled",
    cause: job.options.signal?.reason,
  });
}

function queueFull(waitingCount: number, limit: number): ZiparError {
  return new ZiparError({
    code: "queue-full",
    message:
      `${waitingCount} images are waiting already and the queue holds ${limit}; ` +
      "wait for some to finish, or raise the engine's `maxQueue`",
  });
}
