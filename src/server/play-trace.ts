import { setImmediate, setTimeout } from "node:timers/promises";
import type { GenerationEvent, GenerationStats } from "../api/generation.ts";
import { GeneratedImage } from "../api/image.ts";
import { withoutUndecoded } from "../api/preview.ts";
import { belowPrefix, plainForwardCount, slotCount } from "../schedule/grid.ts";
import { tokenRows } from "../schedule/token-rows.ts";
import { stubPixels } from "../stub/pixels.ts";
import { traceError } from "../trace/error.ts";
import type { Trace } from "../trace/format.ts";
import { summarizeTrace } from "../trace/summary.ts";
import { prefixCount } from "./generation-events.ts";
import type { FinishedImage } from "./generation-stream.ts";

const LONGEST_TIMER_MS = 2 ** 31 - 1;

export interface Playing {
  /** Times as fast as it was recorded; `max`: without waiting. */
  readonly speed: number | "max";
  readonly partialImages: number;
  /** @throws its reason, from `playTrace` */
  readonly signal: AbortSignal;
}

/**
 * Tells a recorded run as a running one is told. A trace has no pixels: in its pictures each token is a square of one colour.
 * @param trace one that `checkPlayable` lets pass; `lines` are what it was read from
 */
export async function playTrace(
  trace: Trace,
  lines: readonly string[],
  { speed, partialImages, signal }: Playing,
  tell: (line: string) => void,
  onEvent: (event: GenerationEvent) => Promise<void>,
): Promise<FinishedImage> {
  const { grid, seed, prefix = [] } = trace.header;
  const codes = new Int32Array(grid.rows * grid.columns);
  const decoded = new Uint8Array(codes.length);
  const dueAt = (count: number) => Math.floor((count * (partialImages + 1)) / codes.length);
  codes.set(prefix.flat());
  let decodedCount = prefixCount(trace.header);
  decoded.fill(1, 0, decodedCount);
  let toldMs = 0;
  tell(lines[0] as string);
  for (const [k, { forward, atMs, cells }] of trace.steps.entries()) {
    await pause(speed === "max" ? 0 : (atMs - toldMs) / speed, signal);
    toldMs = Math.max(toldMs, atMs);
    tell(lines[k + 1] as string);
    for (const { row, column, token } of cells) {
      codes[row * grid.columns + column] = token;
      decoded[row * grid.columns + column] = 1;
    }
    const isPreviewDue = dueAt(decodedCount) < dueAt(decodedCount + cells.length);
    decodedCount += cells.length;
    if (!isPreviewDue || decodedCount === codes.length) continue;
    const pixels = withoutUndecoded(stubPixels(codes, grid.rows, grid.columns), decoded, { grid });
    const image = new GeneratedImage(pixels);
    await onEvent({ type: "partial-image", forward, image, decoded: decoded.slice() });
  }
  const { rows, columns } = grid;
  const image = new GeneratedImage(stubPixels(codes, rows, columns));
  return { seed, tokens: tokenRows(codes, columns), image, ...statsOf(trace) };
}

/**
 * Every cell is decoded, once, and what is told of guesses and drafts lies in the grid.
 * @throws ZiparError `trace`
 */
export function checkPlayable({ name, header, steps }: Trace): void {
  const { grid, promptLength } = header;
  const endSlot = slotCount(grid, promptLength);
  const decoded = new Set<number>();
  for (const [k, { cells, drafts, queries }] of steps.entries()) {
    const refuse = (path: string, expected: string, received: string) =>
      traceError(name, { line: k + 2, path, expected, received });
    for (const [i, { row, column }] of cells.entries()) {
      const cell = row * grid.columns + column;
      if (decoded.has(cell))
        throw refuse(`cells[${i}]`, "a cell that is not decoded yet", `row ${row}, column ${column} again`);
      decoded.add(cell);
    }
    for (const [i, { row }] of drafts.entries())
      if (row >= grid.rows) throw refuse(`drafts[${i}].row`, `a row below ${grid.rows}`, String(row));
    for (const [i, { kind, slot }] of queries.entries())
      if (slot >= endSlot || (kind === "guess" && slot < promptLength))
        throw refuse(
          `queries[${i}].slot`,
          `a slot from ${kind === "guess" ? promptLength : 0} to ${endSlot - 1}`,
          String(slot),
        );
  }
  const cellCount = grid.rows * grid.columns - prefixCount(header);
  if (decoded.size < cellCount)
    throw traceError(name, {
      line: steps.length + 2,
      expected: `forward ${steps.length + 1} (${decoded.size} of ${cellCount} cells are decoded)`,
      received: "the end of the trace",
    });
}

async function pause(ms: number, signal: AbortSignal): Promise<void> {
  // Others get their turn in any case.
  const waiting =
    ms > 0 ? setTimeout(Math.min(ms, LONGEST_TIMER_MS), undefined, { signal }) : setImmediate(undefined);
  await waiting.catch(() => {}); // of an abort, whose own reason is told:
  signal.throwIfAborted();
}

function statsOf(trace: Trace): Pick<FinishedImage, "stats" | "adaptive"> {
  const { window, promptLength, prefix = [] } = trace.header;
  const grid = belowPrefix(trace.header.grid, prefix.length);
  const summary = summarizeTrace(trace);
  const { forwards, nextTokenForwards, draftCount, rejectedCount, openedAt } = summary;
  const stats: GenerationStats = {
    forwards,
    plainForwards: window.kind === "adaptive" ? forwards : plainForwardCount(grid, window.size),
    guesses: { fed: summary.guessCount, held: summary.heldCount },
    tokens: grid.rows * grid.columns,
    promptTokens: promptLength,
    nextTokenForwards,
    reduction: 1 - forwards / nextTokenForwards,
    wallMs: trace.steps.at(-1)?.atMs ?? 0,
    restarts: 0,
  };
  if (window.kind !== "adaptive") return { stats };
  const { min, verification, test } = window;
  return { stats, adaptive: { min, verification, test, openedAt, draftCount, rejectedCount } };
}
