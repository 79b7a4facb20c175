import { CommanderError } from "commander";
import { reasonOf, ZiparError, type ZiparErrorCode } from "../errors.ts";
import { isMachineFailure } from "../system/write-failure.ts";

/** What the user can mend by asking for something else; everything else is a failure. */
const BAD_INPUT: ReadonlySet<ZiparErrorCode> = new Set([
  "invalid-options",
  "model-not-found",
  "checkpoint",
  "no-image-decoder",
  "image-output",
  "picture",
  "trace",
]);

/** Exit code of a failed command: 2 for bad input, 130 after an interrupt, 1 for failures; docs/command-line.md has them all. */
export function exitCodeOf(error: unknown): number {
  if (error instanceof CommanderError) return error.exitCode === 0 ? 0 : 2;
  if (!ZiparError.is(error)) return 1;
  if (error.code === "cancelled") return 130;
  return BAD_INPUT.has(error.code) && !isMachineFailure(error) ? 2 : 1;
}

/** One clear paragraph; the stack and its causes only when asked for. */
export function describeFailure(error: unknown, verbose: boolean): string {
  if (!verbose) return `zipar: ${paragraph(error)}`;
  const stacks: string[] = [];
  for (let cause: unknown = error; cause instanceof Error; cause = cause.cause)
    stacks.push(cause.stack ?? cause.message);
  return `zipar: ${paragraph(error)}\n\n${stacks.join("\ncaused by: ")}`;
}

function paragraph(error: unknown): string {
  if (ZiparError.is(error) || isOfTheSystem(error)) return reasonOf(error);
  const name = error instanceof Error ? `${error.name}: ` : "";
  return (
    `something went wrong inside of zipar (${name}${reasonOf(error)}). This is a bug, and not yours: ` +
    "please report it, with what the same command prints with --verbose"
  );
}

/** Node's own errors name the call and what it was about: ENOSPC, EACCES and so on are no bugs. */
function isOfTheSystem(error: unknown): boolean {
  return error instanceof Error && typeof (error as NodeJS.ErrnoException).syscall === "string";
}
