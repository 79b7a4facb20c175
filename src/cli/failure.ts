import { CommanderError } from "commander";
import { reasonOf, ZiparError, type ZiparErrorCode } from "../errors.ts";

/** What the user can mend by asking for something else; everything else is a failure. */
const BAD_INPUT: ReadonlySet<ZiparErrorCode> = new Set([
  "invalid-options",
  "model-not-found",
  "checkpoint",
  "no-image-decoder",
  "image-output",
  "trace",
]);

/** Exit code of a failed command: 2 for bad input, 130 after an interrupt, 1 for failures. */
export function exitCodeOf(error: unknown): number {
  if (error instanceof CommanderError) return error.exitCode === 0 ? 0 : 2;
  if (!ZiparError.is(error)) return 1;
  if (error.code === "cancelled") return 130;
  return BAD_INPUT.has(error.code) ? 2 : 1;
}

/** One clear paragraph; the stack and its causes only when asked for. */
export function describeFailure(error: unknown, verbose: boolean): string {
  const message = reasonOf(error);
  if (!verbose) return `zipar: ${message}`;
  const stacks: string[] = [];
  for (let cause: unknown = error; cause instanceof Error; cause = cause.cause)
    stacks.push(cause.stack ?? cause.message);
  return `zipar: ${message}\n\n${stacks.join("\ncaused by: ")}`;
}
