import { openSync, writeSync } from "node:fs";
import { reasonOf, ZiparError } from "../errors.ts";

/** Writes each line of a trace when it comes: a run that dies leaves what it did, and one that never began leaves nothing. */
export function traceWriter(path: string): (line: string) => void {
  let file: number | undefined;
  return (line) =>
    attempt(path, () => {
      file ??= openSync(path, "w");
      writeSync(file, `${line}\n`);
    });
}

function attempt<Value>(path: string, action: () => Value): Value {
  try {
    return action();
  } catch (cause) {
    throw new ZiparError({
      code: "trace",
      message: `--trace ${path}: cannot write it (${reasonOf(cause)})`,
      cause,
    });
  }
}
