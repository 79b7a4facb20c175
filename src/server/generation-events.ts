import { rowStride } from "../schedule/grid.ts";
import type { Trace, TraceHeader, TraceStep } from "../trace/format.ts";

/** The first event of zipar's own stream: what is generated. All of a trace's header but its version. */
export type StartEvent = { readonly type: "start" } & Omit<TraceHeader, "zipar-trace">;

/** One forward of the image. */
export interface StepEvent {
  readonly type: "step";
  /** From 1, the prefill. */
  readonly forward: number;
  /** When it was committed, in ms after the image got its cache rows. */
  readonly atMs: number;
  readonly lookahead: number;
  /** Cells that became final. */
  readonly cells: TraceStep["cells"];
  /** Verdicts of the adaptive window. */
  readonly drafts: TraceStep["drafts"];
  /** Guesses that were fed, with their cells, and how many held. */
  readonly guesses: TraceStep["guesses"] & { readonly cells: TraceStep["cells"] };
  readonly decodedCount: number;
  readonly tokenCount: number;
}

/** The events of a recorded run: those that were sent while it ran, without its pictures. */
export function* traceEvents({ header, steps }: Trace): Generator<StartEvent | StepEvent> {
  yield startEvent(header);
  let decodedCount = prefixCount(header);
  for (const step of steps) {
    decodedCount += step.cells.length;
    yield stepEvent(header, step, decodedCount);
  }
}

/** The same, from the lines of a trace as they are recorded. */
export function traceLineEvents(send: (event: StartEvent | StepEvent) => void): (line: string) => void {
  let header: TraceHeader | undefined;
  let decodedCount = 0;
  return (line) => {
    const record = JSON.parse(line);
    if (header === undefined) {
      header = record as TraceHeader;
      decodedCount = prefixCount(header);
      send(startEvent(header));
      return;
    }
    const step = record as TraceStep;
    decodedCount += step.cells.length;
    send(stepEvent(header, step, decodedCount));
  };
}

/** Cells that were given. */
export function prefixCount({ prefix = [], grid }: Pick<TraceHeader, "prefix" | "grid">): number {
  return prefix.length * grid.columns;
}

function startEvent({ "zipar-trace": _, ...header }: TraceHeader): StartEvent {
  return { type: "start", ...header };
}

function stepEvent({ grid, promptLength }: TraceHeader, step: TraceStep, decodedCount: number): StepEvent {
  const { forward, atMs, lookahead, cells, drafts, guesses, queries } = step;
  const stride = rowStride(grid);
  const guessed = queries
    .filter(({ kind }) => kind === "guess")
    .map(({ slot, token }) => ({
      row: Math.floor((slot - promptLength) / stride),
      column: (slot - promptLength) % stride,
      token,
    }))
    .filter(({ column }) => column < grid.columns); // a row-end token is in no cell
  return {
    type: "step",
    forward,
    atMs,
    lookahead,
    cells,
    drafts,
    guesses: { ...guesses, cells: guessed },
    decodedCount,
    tokenCount: grid.rows * grid.columns,
  };
}
