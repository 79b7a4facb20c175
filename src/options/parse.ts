import { z } from "zod";
import { ZiparError } from "../errors.ts";

/** Parses user input with a zod schema; every problem is named in one `invalid-options` error. */
export function parseOptions<Schema extends z.ZodType>(
  schema: Schema,
  input: unknown,
  what: string,
): z.output<Schema> {
  const parsed = schema.safeParse(input);
  if (parsed.success) return parsed.data;
  const problems = describeProblems(parsed.error, input);
  throw new ZiparError({
    code: "invalid-options",
    message: `${what}: ${problems.join("; ")}`,
    details: { problems },
  });
}

/** One text per problem: `path` = what was received: what was expected. */
export function describeProblems({ issues }: z.ZodError, input: unknown): readonly string[] {
  return issues.map((issue) => {
    const { path, message } = mostTelling(issue);
    if (path.length === 0) return message;
    const received = path.reduce<unknown>(
      (value, key) => (value as Record<PropertyKey, unknown>)?.[key],
      input,
    );
    return `\`${z.core.toDotPath(path)}\` = ${shown(received)}: ${message}`;
  });
}

/** Of a union, the first problem inside of the value, where one of its branches finds none with the value as a whole. */
function mostTelling(issue: z.core.$ZodIssue): Pick<z.core.$ZodIssue, "path" | "message"> {
  const { path, message } = issue;
  if (issue.code === "invalid_type") return { path, message: EXPECTED_TYPES[issue.expected] ?? message };
  if (issue.code === "invalid_value") return { path, message: `expected ${listed(issue.values)}` };
  if (issue.code !== "invalid_union") return issue;
  const inside = issue.errors.find((branch) => branch.every(({ path }) => path.length > 0))?.[0];
  return inside === undefined ? issue : { ...mostTelling(inside), path: [...path, ...inside.path] };
}

/** Where zod's own words are "expected int, received number". */
const EXPECTED_TYPES: Readonly<Record<string, string>> = {
  int: "expected a whole number",
  number: "expected a number",
};

/** `"a", "b" or "c"`. */
function listed(values: readonly unknown[]): string {
  return values
    .map(shown)
    .join(", ")
    .replace(/, (?=[^,]*$)/, " or ");
}

const SHOWN_CHARACTERS = 80;

function shown(value: unknown): string {
  const text = typeof value === "number" ? String(value) : (JSON.stringify(value) ?? String(value)); // JSON has no NaN
  return text.length <= SHOWN_CHARACTERS
    ? text
    : `${text.slice(0, SHOWN_CHARACTERS)}... (${text.length} characters)`;
}
