const TICK_MS = 150;
/** A worker that computes sends something more often than that; one that is silent may be gone. */
const SILENCE_MS = 300;
/** A tick that comes so late means that this process itself stood still, and has not read what came meanwhile. */
const STALL_MS = 4 * TICK_MS;

/** A request may wait so many times longer than the longest of its type so far. */
const HANG_FACTOR = 20;
const SHORTEST_HANG_MS = 30_000;

/** How long a worker may make no progress before it counts as hung. */
export interface HangTimeouts {
  /** For types of request that it has answered before. Default: many times the longest wait so far, and half a minute at least. */
  readonly hangTimeoutMs?: number | undefined;
  /** For the first request of a type: a load, the first forward. */
  readonly firstHangTimeoutMs: number;
}

export interface WatchdogEvents {
  /** Nothing was heard for a while: is the link still there? */
  onSilence(): void;
  /** The worker made no progress with the oldest request, of this type, for so long. */
  onHang(request: string, ms: number): void;
}

/**
 * Watches a worker while a reply is due. Every message is a sign of life; a count that grows is progress. Waits are
 * measured from the last progress, so that a slow worker does not count as one that hangs.
 */
export class Watchdog {
  readonly #timeouts: HangTimeouts;
  readonly #events: WatchdogEvents;
  readonly #timer: NodeJS.Timeout;
  /** Longest time without progress, by type of request, of those that were answered. */
  readonly #longest = new Map<string, number>();
  #due: string | undefined;
  #heardAt = 0;
  #progressAt = 0;
  #count = -1;
  #longestOfThis = 0;
  #tickedAt = performance.now();

  constructor(timeouts: HangTimeouts, events: WatchdogEvents) {
    this.#timeouts = timeouts;
    this.#events = events;
    this.#timer = setInterval(() => this.#tick(), TICK_MS).unref();
  }

  /** Names the type of the oldest request, the one that the worker works on; undefined when no reply is due. */
  watch(request: string | undefined): void {
    const now = performance.now();
    if (this.#due === undefined) this.#heardAt = now;
    this.#due = request;
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

  stop(): void {
    clearInterval(this.#timer);
  }

  #limitMs(request: string): number {
    const { hangTimeoutMs, firstHangTimeoutMs } = this.#timeouts;
    const longest = this.#longest.get(request);
    if (longest === undefined) return firstHangTimeoutMs;
    return hangTimeoutMs ?? Math.max(SHORTEST_HANG_MS, HANG_FACTOR * longest);
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
