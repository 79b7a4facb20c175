import { open } from "node:fs/promises";
import type { z } from "zod";
import { ZiparError } from "../errors.ts";
import { shorten, traceError } from "./error.ts";
import {
  TRACE_VERSION,
  type Trace,
  type TraceHeader,
  type TraceStep,
  traceHeaderSchema,
  traceStepSchema,
} from "./format.ts";

/**
 * Reads a trace file that `generate({ trace })` or `zipar generate --trace` wrote.
 * @throws ZiparError `trace`, with the line, what was expected there and what was received
 */
export async function readTrace(path: string): Promise<Trace> {
  const file = await open(path).catch((cause: Error) => {
    throw new ZiparError({
      code: "trace",
      message: `cannot read the trace ${path}: ${cause.message}`,
      cause,
    });
  });
  try {
    if (!(await file.stat()).isFile()) {
      throw new ZiparError({ code: "trace", message: `${path} is not a file; expected a zipar trace` });
    }
    return await parseTrace(file.readLines(), path);
  } finally {
    await file.close();
  }
}

/**
 * Reads a trace from its lines.
 * @param name stands for it in messages
 * @throws ZiparError `trace`
 */
export async function parseTrace(
  lines: Iterable<string> | AsyncIterable<string>,
  name = "trace",
): Promise<Trace> {
  let header: TraceHeader | undefined;
  const steps: TraceStep[] = [];
  for await (const text of lines) {
    if (header === undefined) header = parseHeader(text, name);
    else steps.push(parseStep(text, name, header, steps.length + 1));
  }
  if (header === undefined || steps.length === 0) {
    const expected = header === undefined ? HEADER : "forward 1";
    throw traceError(name, { line: header === undefined ? 1 : 2, expected, received: "the end of the file" });
  }
  return { name, header, steps };
}

const HEADER = `a zipar trace, which begins with {"zipar-trace":${TRACE_VERSION},...}`;

function parseHeader(text: string, name: string): TraceHeader {
  const value = parseJson(text);
  if (typeof value !== "object" || value === null || !("zipar-trace" in value)) {
    throw traceError(name, { line: 1, expected: HEADER, received: shorten(text) });
  }
  const version = value["zipar-trace"];
  if (version !== TRACE_VERSION) {
    throw traceError(
      name,
      {
        line: 1,
        expected: `version ${TRACE_VERSION} of the format`,
        received: `version ${JSON.stringify(version)}`,
      },
      "; read it with the zipar that wrote it",
    );
  }
  const header = parseRecord(traceHeaderSchema, value, name, 1);
  checkPrefix(header, name);
  return header;
}

/** A prefix is whole rows of the grid, with at least one left to decode. */
function checkPrefix({ prefix = [], grid, codeCount }: TraceHeader, name: string): void {
  if (prefix.length >= grid.rows)
    throw traceError(name, {
      line: 1,
      path: "prefix",
      expected: `fewer rows than the ${grid.rows} of the grid`,
      received: `${prefix.length} rows`,
    });
  for (const [row, tokens] of prefix.entries()) {
    if (tokens.length === grid.columns && tokens.every((token) => token < codeCount)) continue;
    throw traceError(name, {
      line: 1,
      path: `prefix[${row}]`,
      expected: `${grid.columns} tokens below ${codeCount}`,
      received: shorten(JSON.stringify(tokens)),
    });
  }
}

function parseStep(
  text: string,
  name: string,
  { grid, codeCount, prefix = [] }: TraceHeader,
  forward: number,
): TraceStep {
  const line = forward + 1;
  const value = parseJson(text);
  if (value === undefined) {
    throw traceError(
      name,
      { line, expected: `forward ${forward} as one JSON object`, received: shorten(text) },
      "; the file is cut off or damaged",
    );
  }
  const step = parseRecord(traceStepSchema, value, name, line);
  if (step.forward !== forward) {
    throw traceError(name, {
      line,
      path: "forward",
      expected: String(forward),
      received: String(step.forward),
    });
  }
  for (const [k, { row, column, token }] of step.cells.entries()) {
    if (prefix.length <= row && row < grid.rows && column < grid.columns && token < codeCount) continue;
    throw traceError(name, {
      line,
      path: `cells[${k}]`,
      expected: `a cell of the ${grid.rows} x ${grid.columns} grid${prefix.length > 0 ? " below the prefix" : ""} with a token below ${codeCount}`,
      received: `token ${token} at row ${row}, column ${column}`,
    });
  }
  return step;
}

function parseJson(text: string): unknown {
  try {
    return JSON.parse(text);
  } catch {
    return undefined;
  }
}

/** The first thing that is wrong with a record is enough to find the damage. */
function parseRecord<Schema extends z.ZodType>(
  schema: Schema,
  value: unknown,
  name: string,
  line: number,
): z.output<Schema> {
  const parsed = schema.safeParse(value);
  if (parsed.success) return parsed.data;
  const [issue] = parsed.error.issues;
  if (issue === undefined) throw new Error("parseRecord: zod refused a record without an issue");
  const received = issue.path.reduce<unknown>(
    (part, key) => (part as Record<PropertyKey, unknown>)?.[key],
    value,
  );
  throw traceError(name, {
    line,
    path: issue.path.reduce<string>((path, key) => joinPath(path, key), ""),
    expected: expectationOf(issue),
    received: received === undefined ? "nothing" : shorten(JSON.stringify(received)),
  });
}

function joinPath(path: string, key: PropertyKey): string {
  if (typeof key === "number") return `${path}[${key}]`;
  return path === "" ? String(key) : `${path}.${String(key)}`;
}

/** zod's own words, without what it says about the received value: "Invalid input: expected int, received string". */
function expectationOf({ message }: z.core.$ZodIssue): string {
  return message.replace(/^[^:]*: expected /, "").replace(/, received .*$/, "");
}
