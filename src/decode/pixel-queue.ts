import type { ZiparError } from "../errors.ts";
import { isOutOfMemory, lostTooOften } from "./rebuild-cache.ts";
import type { Pixels, Worker } from "./worker.ts";

/** A token grid that is to become pixels. */
export interface Picture {
  readonly tokens: Int32Array;
  readonly rows: number;
  readonly columns: number;
  deliver(pixels: Pixels): void;
  fail(error: unknown): void;
}

interface QueuedPicture {
  readonly picture: Picture;
  lossCount: number;
  /** Whether memory did not suffice beside other work: it is asked for again when there is none. */
  needsRoom: boolean;
}

/** Pictures that the worker was asked for or shall be. Those of a lost worker wait to be asked for again. */
export class PictureQueue {
  #waiting: QueuedPicture[] = [];
  readonly #asked = new Set<QueuedPicture>();
  readonly #lossLimit: number;
  readonly #loss: () => ZiparError | undefined;
  readonly #onWaiting: () => void;

  /** `loss` tells what the worker was lost to, if it was; `onWaiting` is called when a picture has to be asked for. */
  constructor(lossLimit: number, loss: () => ZiparError | undefined, onWaiting: () => void) {
    this.#lossLimit = lossLimit;
    this.#loss = loss;
    this.#onWaiting = onWaiting;
  }

  /** Whether `ask` would ask for something. */
  hasWork(isIdle: boolean): boolean {
    return this.#waiting.some((queued) => this.#mayAsk(queued, isIdle));
  }

  add(picture: Picture): void {
    this.#waiting.push({ picture, lossCount: 0, needsRoom: false });
    this.#onWaiting();
  }

  /** Asks for what waits, without waiting for it. `isIdle`: the worker has nothing else to do. */
  ask(worker: Worker, isIdle: boolean): void {
    for (const queued of [...this.#waiting]) {
      if (!this.#mayAsk(queued, isIdle)) continue;
      this.#waiting = this.#waiting.filter((other) => other !== queued);
      this.#asked.add(queued);
      const { picture } = queued;
      worker.decodeImage(picture.tokens, picture.rows, picture.columns).then(
        (pixels) => this.#settle(queued, () => picture.deliver(pixels)),
        (error: unknown) => this.#settle(queued, () => this.#refuse(queued, error)),
      );
    }
  }

  /** Fails all pictures. */
  close(error: unknown): void {
    const all = [...this.#asked, ...this.#waiting];
    this.#waiting = [];
    this.#asked.clear();
    for (const { picture } of all) picture.fail(error);
  }

  #mayAsk({ needsRoom }: QueuedPicture, isIdle: boolean): boolean {
    return !needsRoom || (isIdle && this.#asked.size === 0);
  }

  #settle(queued: QueuedPicture, then: () => void): void {
    if (!this.#asked.delete(queued)) return; // it was failed meanwhile
    then();
    if (this.#waiting.length > 0) this.#onWaiting();
  }

  #refuse(queued: QueuedPicture, error: unknown): void {
    const loss = this.#loss();
    if (loss !== undefined) {
      queued.lossCount += 1;
      if (queued.lossCount < this.#lossLimit) this.#waiting.push(queued);
      else queued.picture.fail(lostTooOften("decoding a picture", queued.lossCount, loss));
    } else if (isOutOfMemory(error) && !queued.needsRoom) {
      this.#waiting.push({ ...queued, needsRoom: true });
    } else {
      queued.picture.fail(error);
    }
  }
}
