/** Where two records part. */
export interface Difference {
  readonly path: string;
  readonly expected: string;
  readonly received: string;
}

/** The first place, in the order of `expected`, at which two plain records (objects, arrays, scalars) differ. */
export function firstDifference(expected: unknown, received: unknown, path = ""): Difference | undefined {
  if (!isRecord(expected) || !isRecord(received)) {
    return Object.is(expected, received)
      ? undefined
      : { path, expected: show(expected), received: show(received) };
  }
  for (const [key, value] of Object.entries(expected)) {
    const inner = Array.isArray(expected) ? `${path}[${key}]` : path === "" ? key : `${path}.${key}`;
    const difference = firstDifference(value, received[key], inner);
    if (difference !== undefined) return difference;
  }
  const extra = Object.keys(received).find((key) => !(key in expected));
  return extra === undefined
    ? undefined
    : { path: `${path}[${extra}]`, expected: "nothing", received: show(received[extra]) };
}

function isRecord(value: unknown): value is Record<string, unknown> {
  return typeof value === "object" && value !== null;
}

function show(value: unknown): string {
  return value === undefined ? "nothing" : JSON.stringify(value);
}
