import { ZiparError } from "../errors.ts";

/** Where and how a trace departs from what it should be. */
export interface TraceDifference {
  /** From 1, the header. */
  readonly line: number;
  /** The place within the line, e.g. `queries[2].slot`. */
  readonly path?: string;
  readonly expected: string;
  readonly received: string;
}

/** A trace cannot be read; `advice` ends the message. */
export function traceError(name: string, difference: TraceDifference, advice = ""): ZiparError {
  return new ZiparError({
    code: "trace",
    message: `${name}, ${describe(difference)}${advice}`,
    details: { ...difference },
  });
}

/** A trace can be read, and the schedule does something else. */
export function replayError(name: string, difference: TraceDifference, cause?: unknown): ZiparError {
  return new ZiparError({
    code: "trace-mismatch",
    message: `${name} does not replay; the first difference is on ${describe(difference)}`,
    details: { ...difference },
    cause,
  });
}

function describe({ line, path, expected, received }: TraceDifference): string {
  return `line ${line}${path === undefined || path === "" ? "" : `, ${path}`}: expected ${expected}, received ${received}`;
}

/** A piece of a file that fits into a message, without control characters. */
export function shorten(text: string): string {
  if (text === "") return "an empty line";
  const printable = text.slice(0, 60).replace(/\p{C}/gu, "?");
  return text.length > 60 ? `${printable}...` : printable;
}
