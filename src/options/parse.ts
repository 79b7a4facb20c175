import { z } from "zod";
import { ZiparError } from "../errors.ts";

/** What is wrong with a value, or with the part of it at `path`. */
export interface Problem {
  readonly path: readonly PropertyKey[];
  readonly received: unknown;
  /** `expected ...` */
  readonly expected: string;
}

/** Parses user input with a zod schema; every problem is named in one `invalid-options` error. */
export function parseOptions<Schema extends z.ZodType>(
  schema: Schema,
  input: unknown,
  what: string,
): z.output<Schema> {
  const parsed = schema.safeParse(input, { error: expectation });
  if (parsed.success) return parsed.data;
  const problems = distinct(parsed.error.issues.map((issue) => describeProblem(problemOf(issue, input))));
  throw new ZiparError({
    code: "invalid-options",
    message: `${what}: ${problems.join("; ")}`,
    details: { problems },
  });
}

/** The problems of a value; none where its schema takes it. */
export function problemsOf(schema: z.ZodType, input: unknown): readonly Problem[] {
  const { error } = schema.safeParse(input, { error: expectation });
  return (error?.issues ?? []).map((issue) => problemOf(issue, input));
}

/** A number beyond two limits is one problem. */
function distinct(texts: readonly string[]): readonly string[] {
  return [...new Set(texts)];
}

/** `path` = what was received: what was expected. */
export function describeProblem({ path, received, expected }: Problem): string {
  return path.length === 0 ? expected : `\`${z.core.toDotPath(path)}\` = ${shown(received)}: ${expected}`;
}

function problemOf(issue: z.core.$ZodIssue, input: unknown): Problem {
  const { path, message } = mostTelling(issue);
  const received = path.reduce<unknown>(
    (value, key) => (value as Record<PropertyKey, unknown>)?.[key],
    input,
  );
  return { path, received, expected: message };
}

/** Of a union, the first problem inside of the value, where one of its branches finds none with the value as a whole. */
function mostTelling(issue: z.core.$ZodIssue): Pick<z.core.$ZodIssue, "path" | "message"> {
  if (issue.code !== "invalid_union") return issue;
  const inside = issue.errors.find((branch) => branch.every(({ path }) => path.length > 0))?.[0];
  return inside === undefined ? issue : { ...mostTelling(inside), path: [...issue.path, ...inside.path] };
}

/** What to say where a schema does not say it itself: zod's own words are "Too small: expected number to be >=1". */
function expectation(issue: z.core.$ZodRawIssue): string | undefined {
  switch (issue.code) {
    case "invalid_type":
      if (issue.expected === "int" || issue.inst instanceof z.ZodNumberFormat)
        return "expected a whole number";
      return issue.expected === "number" ? "expected a number" : undefined;
    case "invalid_value":
      return `expected ${listed(issue.values)}`;
    case "too_small":
      return `expected ${issue.inclusive ? "at least" : "more than"} ${amount(issue.minimum, issue.origin)}`;
    case "too_big":
      return `expected ${issue.inclusive ? "at most" : "less than"} ${amount(issue.maximum, issue.origin)}`;
    default:
      return undefined;
  }
}

function amount(count: number | bigint, origin: string): string {
  const unit = { string: "character", array: "value" }[origin];
  return unit === undefined ? String(count) : `${count} ${unit}${Number(count) === 1 ? "" : "s"}`;
}

/** `"a", "b" or "c"`. */
function listed(values: readonly unknown[]): string {
  return values
    .map(shown)
    .join(", ")
    .replace(/, (?=[^,]*$)/, " or ");
}

const SHOWN_CHARACTERS = 80;

/** A value as a message shows it: on one line, and not too long for one. */
export function shown(value: unknown): string {
  const text = typeof value === "number" ? String(value) : (JSON.stringify(value) ?? String(value)); // JSON has no NaN
  return text.length <= SHOWN_CHARACTERS
    ? text
    : `${text.slice(0, SHOWN_CHARACTERS)}... (${text.length} characters)`;
}
