import { ZiparError } from "../errors.ts";

const FIRST_GUESS_SECONDS = 5;
const LONGEST_RETRY_SECONDS = 120;
/** Weight of the newest image in the mean. */
const NEWEST = 0.2;

/** Bounds the images that are asked for of one model, from their request until the client has them or is gone. */
export class ImageGate {
  #imageCount = 0;
  #meanSeconds = FIRST_GUESS_SECONDS;

  /** Images that are inside. */
  get imageCount(): number {
    return this.#imageCount;
  }

  /**
   * All of a request's images or none; they leave with what is returned, which may be called twice.
   * @param capacity images that are decoded together
   * @param queueLimit images that may wait for those
   * @throws ZiparError `queue-full` with `details.retryAfterSeconds`, `invalid-options` where it can never be
   */
  enter(imageCount: number, capacity: number, queueLimit: number): () => void {
    const limit = capacity + queueLimit;
    if (imageCount > limit) {
      throw new ZiparError({
        code: "invalid-options",
        message: `\`n\` = ${imageCount}: this server takes at most ${limit} images of a model at a time`,
        details: { param: "n" },
      });
    }
    if (this.#imageCount + imageCount > limit) {
      const retryAfterSeconds = this.#retryAfterSeconds;
      throw new ZiparError({
        code: "queue-full",
        message: `${this.#imageCount} images of this model are asked for already, of ${limit} at most; try again in ${retryAfterSeconds} s`,
        details: { retryAfterSeconds },
      });
    }
    this.#imageCount += imageCount;
    let isInside = true;
    return () => {
      if (isInside) this.#imageCount -= imageCount;
      isInside = false;
    };
  }

  /** An image took so long, waiting included. */
  record(seconds: number): void {
    this.#meanSeconds += NEWEST * (seconds - this.#meanSeconds);
  }

  /** About when one of those inside will have left. */
  get #retryAfterSeconds(): number {
    return Math.min(LONGEST_RETRY_SECONDS, Math.max(1, Math.ceil(this.#meanSeconds)));
  }
}
