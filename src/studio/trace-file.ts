import { traceLineEvents } from "../server/generation-events.ts";
import type { StartEvent, StepEvent } from "./events.ts";

/** The version of the format that `traceLineEvents` knows: docs/trace.md. */
const TRACE_VERSION = 2;
const MAX_SIDE = 1024;
const WINDOW_KINDS: ReadonlySet<string> = new Set(["fixed", "guessed", "adaptive"]);

/**
 * The events of a trace file. Looks at no more than what is drawn; `zipar trace --check` judges the rest.
 * @throws Error with the line, what was expected there and what was received
 */
export function readTraceFile(text: string): readonly (StartEvent | StepEvent)[] {
  const lines = text.split("\n").filter((line) => line.trim() !== "");
  const records = lines.map((line, k) => checked(line, k));
  if (records.length < 2)
    throw new Error(
      refusal(records.length + 1, records.length === 0 ? HEADER : "a forward", "the end of the file"),
    );
  const events: (StartEvent | StepEvent)[] = [];
  const read = traceLineEvents((event) => events.push(event));
  const { grid } = records[0] as Header;
  for (const [k, record] of records.entries()) {
    if (k > 0) checkStep(record as Step, grid, k + 1);
    read(lines[k] as string);
  }
  return events;
}

type Header = Omit<StartEvent, "type"> & { readonly "zipar-trace": number };
type Step = Omit<StepEvent, "type"> & { readonly queries: readonly unknown[] };

function checked(line: string, k: number): unknown {
  const value = parsed(line);
  if (typeof value !== "object" || value === null)
    throw new Error(refusal(k + 1, k === 0 ? HEADER : `forward ${k} as a JSON object`, line.slice(0, 40)));
  if (k === 0) checkHeader(value as Partial<Header>);
  return value;
}

const HEADER = `a zipar trace, which begins with {"zipar-trace":${TRACE_VERSION},...}`;

function checkHeader(header: Partial<Header>): void {
  const version = header["zipar-trace"];
  if (version === undefined) throw new Error(refusal(1, HEADER, "another JSON object"));
  if (version !== TRACE_VERSION)
    throw new Error(
      refusal(1, `version ${TRACE_VERSION} of the format`, `version ${JSON.stringify(version)}`),
    );
  const { grid, window, sampling, conditioning, prefix = [] } = header;
  if (!isSide(grid?.rows) || !isSide(grid?.columns) || !isCount(header.promptLength))
    throw new Error(
      refusal(1, `a prompt and a grid with sides from 1 to ${MAX_SIDE}`, JSON.stringify(grid) ?? "none"),
    );
  if (!Array.isArray(prefix) || prefix.length >= (grid?.rows ?? 0))
    throw new Error(
      refusal(1, `a prefix of fewer than ${grid?.rows} rows`, JSON.stringify(prefix).slice(0, 60)),
    );
  if (
    !WINDOW_KINDS.has(String(window?.kind)) ||
    typeof sampling !== "object" ||
    typeof conditioning?.type !== "string"
  )
    throw new Error(refusal(1, "`window`, `sampling` and `conditioning`", "a header without one of them"));
}

/** Everything that is drawn, or from which what is drawn is made. */
function checkStep(step: Partial<Step>, { rows, columns }: Header["grid"], line: number): void {
  const { forward, atMs, cells, drafts, guesses, queries } = step;
  const refuse = (expected: string, received: unknown): never => {
    throw new Error(refusal(line, expected, JSON.stringify(received)?.slice(0, 60) ?? "nothing"));
  };
  if (forward !== line - 1) refuse(`forward ${line - 1}`, forward);
  if (typeof atMs !== "number") refuse("`atMs`, a number", atMs);
  if (!isCount(guesses?.fedCount) || !isCount(guesses?.heldCount)) refuse("`guesses`, two counts", guesses);
  const isCell = (cell: Place) => isBelow(cell.row, rows) && isBelow(cell.column, columns);
  const lists = [
    ["cells", cells, isCell, `cells of the ${rows} × ${columns} grid`],
    ["drafts", drafts, (draft: Place) => isBelow(draft.row, rows), `drafts of its ${rows} rows`],
    ["queries", queries, (query: Place) => isCount(query.slot), "queries with their slots"],
  ] as const;
  for (const [name, list, isRight, expected] of lists) {
    const items: readonly (Place | null)[] = Array.isArray(list) ? list : refuse(`\`${name}\`, a list`, list);
    const wrong = items.findIndex((item) => typeof item !== "object" || item === null || !isRight(item));
    if (wrong >= 0) refuse(expected, items[wrong]);
  }
}

type Place = Readonly<Partial<Record<"row" | "column" | "slot", unknown>>>;

function isCount(value: unknown): boolean {
  return Number.isSafeInteger(value) && (value as number) >= 0;
}

function isBelow(value: unknown, limit: number): boolean {
  return isCount(value) && (value as number) < limit;
}

function isSide(value: unknown): boolean {
  return Number.isInteger(value) && (value as number) >= 1 && (value as number) <= MAX_SIDE;
}

function parsed(line: string): unknown {
  try {
    return JSON.parse(line);
  } catch {
    return undefined;
  }
}

function refusal(line: number, expected: string, received: string): string {
  return `Line ${line}: expected ${expected}, received ${received}.`;
}
