import type { z } from "zod";
import { ZiparError } from "../errors.ts";

/** Parses user input with a zod schema; every problem is named in one `invalid-options` error. */
export function parseOptions<Schema extends z.ZodType>(
  schema: Schema,
  input: unknown,
  what: string,
): z.output<Schema> {
  const parsed = schema.safeParse(input);
  if (parsed.success) return parsed.data;
  const problems = parsed.error.issues.map((issue) => describeIssue(issue, input));
  throw new ZiparError({
    code: "invalid-options",
    message: `${what}: ${problems.join("; ")}`,
    details: { problems },
  });
}

/** `path: what was expected, what was received`. */
function describeIssue(issue: z.core.$ZodIssue, input: unknown): string {
  const path = issue.path.join(".");
  const received = issue.path.reduce<unknown>(
    (value, key) => (value as Record<PropertyKey, unknown>)?.[key],
    input,
  );
  const label = path === "" ? "" : `\`${path}\` = ${shown(received)}: `;
  return `${label}${issue.code === "invalid_union" ? unionProblem(issue) : issue.message}`;
}

const SHOWN_CHARACTERS = 80;

function shown(value: unknown): string {
  const text = JSON.stringify(value) ?? String(value);
  return text.length <= SHOWN_CHARACTERS
    ? text
    : `${text.slice(0, SHOWN_CHARACTERS)}... (${text.length} characters)`;
}

function unionProblem(issue: z.core.$ZodIssueInvalidUnion): string {
  return [...new Set(issue.errors.flatMap((branch) => branch.map((inner) => inner.message)))].join(", or ");
}
