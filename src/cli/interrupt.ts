import { constants } from "node:os";

const SIGNALS = ["SIGINT", "SIGTERM", "SIGHUP"] as const;
const controller = new AbortController();
let isHeeded = false;
let exitCode: number | undefined;

/**
 * From now on the first signal aborts `interruptSignal()`, so that a command which heeds it ends cleanly, and ends any other
 * command; the second one ends every command at once.
 */
export function watchInterrupts(): void {
  for (const signal of SIGNALS) {
    process.on(signal, () => {
      exitCode ??= 128 + constants.signals[signal];
      if (!isHeeded || controller.signal.aborted) process.exit(exitCode);
      controller.abort(new Error(`interrupted by ${signal}`));
    });
  }
}

/** Aborts when the process is told to end. */
export function interruptSignal(): AbortSignal {
  isHeeded = true;
  return controller.signal;
}

/** 128 and the number of the signal that told the process to end, as shells have it: 130, 143 or 129. */
export function interruptExitCode(): number | undefined {
  return exitCode;
}
