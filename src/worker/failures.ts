import { ZiparError, type ZiparErrorCode } from "../errors.ts";
import { harmless } from "../protocol/harmless.ts";
import type { WorkerFailure } from "../protocol/messages.ts";

const CODES = {
  protocol: "protocol",
  "protocol-version": "protocol-version",
  "bad-request": "protocol",
  prompt: "invalid-options",
  checkpoint: "checkpoint",
  device: "device",
  "out-of-memory": "out-of-memory",
  "not-ready": "protocol",
  "python-environment": "python-environment",
  internal: "internal",
} as const satisfies Record<WorkerFailure["code"], ZiparErrorCode>;

/** Codes whose messages the worker writes for the user. */
const FOR_USERS: ReadonlySet<WorkerFailure["code"]> = new Set([
  "prompt",
  "checkpoint",
  "device",
  "out-of-memory",
  "python-environment",
]);

/** An error that the worker reports, as ours. The Python traceback becomes the cause. */
export function failureOf({ code, message, traceback, details }: WorkerFailure, failed: string): ZiparError {
  return new ZiparError({
    code: CODES[code],
    message: harmless(FOR_USERS.has(code) ? message : `${failed}: ${message}`),
    details: { ...details, workerCode: code },
    cause: traceback === undefined ? undefined : new Error(traceback),
  });
}

export function hung(request: string, ms: number): ZiparError {
  return new ZiparError({
    code: "worker-timeout",
    message:
      `the worker came no further with "${request}" for ${(ms / 1000).toFixed(1)} s and counts as hung; ` +
      "if it was only slow, raise the engine's `hangTimeoutMs`",
  });
}

export function unreachable(cause: unknown): ZiparError {
  return new ZiparError({ code: "worker-died", message: "the connection to the worker broke", cause });
}

export function engineClosed(): ZiparError {
  return new ZiparError({ code: "engine-closed", message: "the engine was closed" });
}

export function cancelled(cause: unknown): ZiparError {
  return new ZiparError({ code: "cancelled", message: "starting the engine was cancelled", cause });
}
