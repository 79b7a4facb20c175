import { reasonOf } from "../errors.ts";

/**
 * A reader who has gone, as in `zipar plan ... | head -1`, is no failure: what is written after that is dropped, and the
 * command ends with the exit code that it has anyway. A report that cannot be written for another reason is one.
 */
export function watchStreams(): void {
  process.stdout.on("error", (error: NodeJS.ErrnoException) => {
    if (error.code === "EPIPE" || process.exitCode === 1) return;
    process.exitCode = 1;
    process.stderr.write(`zipar: standard output cannot be written: ${reasonOf(error)}\n`);
  });
  // There is nobody left to tell.
  process.stderr.on("error", () => {});
}
