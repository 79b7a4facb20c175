import { ZiparError } from "../errors.ts";

/** What is known of a worker process that has ended. */
export interface Death {
  /** In words. */
  readonly reason: string;
  /** Processes that the kernel had ended for lack of memory before it was started, and now; see `memoryKillCount`. */
  readonly memoryKills: readonly [before: number | undefined, now: number | undefined];
  /** The last that it printed. */
  readonly output: string;
}

/** The error of a worker that ended by itself, or that something else ended. */
export function workerDied({ reason, memoryKills: [before, now], output }: Death): ZiparError {
  const wasKilled = reason.endsWith("SIGKILL");
  const forMemory = wasKilled && before !== undefined && now !== undefined && now > before;
  const cause = forMemory
    ? `${reason} for lack of memory: the kernel's out-of-memory killer was at work meanwhile; ${REMEDY}`
    : wasKilled
      ? `${reason}, as a system does that runs out of memory; if nobody else ended it, ${REMEDY}`
      : reason;
  return new ZiparError({
    code: reason.includes("could not be started")
      ? "worker-start"
      : forMemory
        ? "out-of-memory"
        : "worker-died",
    message: `the worker is gone: ${cause}${tailOf(output)}`,
    details: { output, killedForMemory: forMemory },
  });
}

const REMEDY = "give it more memory, decode fewer images together or take a smaller model";
const SHOWN_LINES = 12;

/** The end of what a worker printed, for an error message. */
export function tailOf(output: string): string {
  const lines = output.split("\n").slice(-SHOWN_LINES).join("\n");
  return lines === "" ? "" : `; its last output was:\n${lines}`;
}
