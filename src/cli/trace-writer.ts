import { appendFileSync, openSync } from "node:fs";
import { writeFailure } from "../system/write-failure.ts";

/** Writes each line of a trace when it comes: a run that dies leaves what it did, and one that never began changes nothing. */
export function traceWriter(path: string): (line: string) => void {
  let file: number | undefined;
  return (line) =>
    attempt(path, () => {
      file ??= openSync(path, "w");
      appendFileSync(file, `${line}\n`);
    });
}

function attempt<Value>(path: string, action: () => Value): Value {
  try {
    return action();
  } catch (cause) {
    throw writeFailure(`--trace ${path}: cannot write it`, cause, "trace");
  }
}
