import { ZiparError, type ZiparErrorCode } from "../errors.ts";
import type { Logger } from "../logger.ts";
import type { Worker } from "./worker.ts";

/** How often a lost worker is replaced. */
export interface RestartBudget {
  /** Restarts within any `withinMs`; 0 makes the loss of a worker final. */
  readonly max: number;
  readonly withinMs: number;
  /** Wait before the second restart within `withinMs`; it doubles with each further one, up to half a minute. */
  readonly backoffMs: number;
}

const LONGEST_BACKOFF_MS = 30_000;

/** Failures of a start that another start does not mend. */
const FINAL: ReadonlySet<ZiparErrorCode> = new Set([
  "invalid-options",
  "model-not-found",
  "checkpoint",
  "python-environment",
  "protocol-version",
  "cancelled",
  "engine-closed",
  "native-module",
]);

/** Keeps an engine supplied with a worker: the one that runs, and another one in the place of each that is lost. */
export class Supervisor {
  #worker: Worker;
  #restartTimes: number[] = [];
  #restartCount = 0;
  #replacement: Promise<void> = Promise.resolve();
  #stopping: Promise<void> | undefined;
  readonly #open: (signal: AbortSignal) => Promise<Worker>;
  readonly #budget: RestartBudget;
  readonly #logger: Logger;
  readonly #stopped = new AbortController();

  constructor(
    worker: Worker,
    open: (signal: AbortSignal) => Promise<Worker>,
    budget: RestartBudget,
    logger: Logger,
  ) {
    this.#worker = worker;
    this.#open = open;
    this.#budget = budget;
    this.#logger = logger;
  }

  /** The newest worker, lost or not. */
  get worker(): Worker {
    return this.#worker;
  }

  /** What the worker was lost to; undefined while it runs. */
  failure(): ZiparError | undefined {
    return this.#worker.failure();
  }

  /** Workers that were started in the place of lost ones. */
  get restartCount(): number {
    return this.#restartCount;
  }

  /**
   * Starts another worker in the place of the lost one.
   * @throws ZiparError what the worker was lost to when no restarts are wanted; `worker-died` when they are used up;
   *   `worker-timeout` when nobody dialled in;
   *   what a start fails with that trying again does not mend; `cancelled` when the engine is closed meanwhile
   */
  replace(): Promise<void> {
    this.#replacement = this.#replace();
    return this.#replacement;
  }

  async #replace(): Promise<void> {
    let reason = this.#worker.failure() ?? new Error("the worker is not lost");
    let isLeft = this.#worker.isLeaving === true;
    for (;;) {
      if (isLeft) this.#logger.info("the worker has left, as it was asked to");
      else this.#logger.warn(`worker lost: ${firstLine(reason)}`);
      const waitMs = isLeft ? 0 : this.#spendRestart(reason);
      isLeft = false;
      await this.#worker.stop();
      await pause(waitMs, this.#stopped.signal);
      try {
        const startedAt = performance.now();
        this.#worker = await this.#open(this.#stopped.signal);
        if (this.#stopped.signal.aborted) throw engineClosed();
        this.#restartCount += 1;
        this.#logger.info(`another worker is ready after ${Math.round(performance.now() - startedAt)} ms`);
        return;
      } catch (error) {
        if (!ZiparError.is(error) || FINAL.has(error.code) || error.details.killedForMemory === true)
          throw error;
        if (isVacancy(error)) throw error;
        reason = error;
      }
    }
  }

  /** Ends the worker and any start of another one. Safe to call twice. */
  stop(): Promise<void> {
    this.#stopped.abort();
    this.#stopping ??= this.#replacement
      .catch(() => {}) // whoever waits for it is told
      .then(() => this.#worker.stop());
    return this.#stopping;
  }

  /** Books one restart; returns how long it has to wait, in ms. */
  #spendRestart(reason: Error): number {
    const { max, withinMs, backoffMs } = this.#budget;
    if (max === 0) throw reason;
    const now = performance.now();
    this.#restartTimes = this.#restartTimes.filter((time) => now - time < withinMs);
    const recent = this.#restartTimes.length;
    if (recent >= max) throw budgetSpent(reason, recent, withinMs);
    this.#restartTimes.push(now);
    return recent === 0 ? 0 : Math.min(LONGEST_BACKOFF_MS, backoffMs * 2 ** (recent - 1));
  }
}

/** Whether no worker of another machine has come, as long as its source waited. */
export function isVacancy(error: unknown): boolean {
  return ZiparError.is(error) && error.details.nobodyCame === true;
}

function budgetSpent(reason: Error, count: number, withinMs: number): ZiparError {
  return new ZiparError({
    code: "worker-died",
    message:
      `the worker was lost again after ${count} restarts within ${Math.round(withinMs / 1000)} s, which is all that ` +
      `the engine's \`restarts\` allow; the last reason: ${reason.message}`,
    details: { ...(ZiparError.is(reason) ? reason.details : {}), restarts: count },
    cause: reason,
  });
}

function engineClosed(): ZiparError {
  return new ZiparError({ code: "engine-closed", message: "the engine was closed" });
}

function firstLine({ message }: Error): string {
  return message.split("\n", 1)[0] as string;
}

/** Waits; ends early, without an error, when the signal is aborted. */
function pause(ms: number, signal: AbortSignal): Promise<void> {
  return new Promise((resolve) => {
    if (ms === 0 || signal.aborted) return resolve();
    const done = () => {
      clearTimeout(timer);
      signal.removeEventListener("abort", done);
      resolve();
    };
    const timer = setTimeout(done, ms);
    signal.addEventListener("abort", done);
  });
}
