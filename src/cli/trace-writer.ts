import { openSync, writeSync } from "node:fs";
import { reasonOf, ZiparError } from "../errors.ts";

/**
 * Opens a trace file, before anything is loaded, so that a bad path is told at once. Each line is written when it
 * comes: a run that dies leaves what it did.
 */
export function traceWriter(path: string, imageCount: number): (line: string) => void {
  if (imageCount !== 1) {
    throw new ZiparError({
      code: "invalid-options",
      message: `--trace records one image, and --count asks for ${imageCount}; leave one of them out`,
    });
  }
  const file = attempt(path, () => openSync(path, "w"));
  return (line) => attempt(path, () => void writeSync(file, `${line}\n`));
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
