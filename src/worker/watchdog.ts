const TICK_MS = 150;
/** A worker that computes says so more often than that; one that says nothing may be gone. */
const SILENCE_MS = 300;
/** A tick that comes so late means that this process stood still, and has not read what came meanwhile. */
const STALL_MS = 4 * TICK_MS;

const GENEROSITY = 20;

/** How long a worker may come no further before it counts as hung. */
export interface Patience {
  /** For requests like one that this worker has answered before; undefined: many times the longest wait, at least the floor. */
  readonly fixedMs: number | undefined;
  readonly floorMs: number;
  /** For its first request of a kind: a load, the first forward. */
  readonly firstMs: number;
}

export interface VigilEvents {
  /** Nothing was heard for a while: is the link still there? */
  onSilence(): void;
  /** The worker came no further with the oldest request for so long. */
  onHang(what: string, ms: number): void;
}

/**
 * Watches over a worker while something is due from it. Every message shows life, and counts that advance show progress;
 * waits are measured from the last progress, so that slow work is not taken for none.
 */
export class Vigil {
  readonly #patience: Patience;
  readonly #events: VigilEvents;
  readonly #timer: NodeJS.Timeout;
  /** Longest time without progress, by kind of request, of those that were answered. */
  readonly #longest = new Map<string, number>();
  #due: string | undefined;
  #heardAt = 0;
  #progressAt = 0;
  #count = -1;
  #longestOfThis = 0;
  #tickedAt = performance.now();

  constructor(patience: Patience, events: VigilEvents) {
    this.#patience = patience;
    this.#events = events;
    this.#timer = setInterval(() => this.#tick(), TICK_MS).unref();
  }

  /** What the oldest request that is due asks for, which the worker is taken to work on; undefined when nothing is. */
  await(what: string | undefined): void {
    const now = performance.now();
    if (this.#due === undefined) this.#heardAt = now;
    this.#due = what;
    this.#progressAt = now;
    this.#longestOfThis = 0;
  }

  heard(): void {
    this.#heardAt = performance.now();
  }

  /** `count` grows as the worker comes further. */
  pulse(count: number): void {
    if (count === this.#count) return;
    this.#count = count;
    this.progressed();
  }

  progressed(): void {
    const now = performance.now();
    this.#longestOfThis = Math.max(this.#longestOfThis, now - this.#progressAt);
    this.#progressAt = now;
  }

  /** The oldest request was answered. */
  answered(): void {
    this.progressed();
    if (this.#due === undefined) return;
    this.#longest.set(this.#due, Math.max(this.#longest.get(this.#due) ?? 0, this.#longestOfThis));
  }

  end(): void {
    clearInterval(this.#timer);
  }

  #limitMs(what: string): number {
    const { fixedMs, floorMs, firstMs } = this.#patience;
    const longest = this.#longest.get(what);
    if (longest === undefined) return firstMs;
    return fixedMs ?? Math.max(floorMs, GENEROSITY * longest);
  }

  #tick(): void {
    const now = performance.now();
    const hasStoodStill = now - this.#tickedAt > STALL_MS;
    this.#tickedAt = now;
    if (this.#due === undefined) return;
    if (hasStoodStill) {
      this.#heardAt = now;
      this.#progressAt = now;
      return;
    }
    if (now - this.#heardAt > SILENCE_MS) this.#events.onSilence();
    const waited = now - this.#progressAt;
    if (waited > this.#limitMs(this.#due)) this.#events.onHang(this.#due, waited);
  }
}
