import type { Logger } from "../../logger.ts";
import type { DialIn } from "./zap-handler.ts";

/** Clients that were refused. The user learns of them: why does no worker come? */
export class TurnedAway {
  readonly #logger: Logger;
  #count = 0;
  #last = "";

  constructor(logger: Logger) {
    this.#logger = logger;
  }

  addStranger({ address, mechanism, key }: DialIn): void {
    this.add(
      key === undefined
        ? `${address} came with ${mechanism} where CURVE was expected`
        : `${address} came with the unknown key ${key}`,
    );
  }

  add(why: string): void {
    if (why !== this.#last) this.#logger.warn(`turned away: ${why}`); // a worker tries again and again
    this.#count++;
    this.#last = why;
  }

  toString(): string {
    if (this.#count === 0) return "";
    return `; ${this.#count} times somebody was turned away, the last time because ${this.#last}`;
  }
}
