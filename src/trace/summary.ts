import { belowPrefix, nextTokenForwardCount } from "../schedule/grid.ts";
import type { QueryKind } from "../schedule/step-plan.ts";
import type { Trace, TraceStep } from "./format.ts";

/** Guesses by what became of them. */
export type FedKind = Exclude<QueryKind, "guess"> | "guess-held" | "guess-fell";

/** What a trace shows at a glance. */
export interface TraceSummary {
  readonly rows: number;
  readonly columns: number;
  readonly forwards: number;
  readonly nextTokenForwards: number;
  /** Raster order: the forward (from 1) that decoded each cell; 0 where none did, as in a prefix. */
  readonly steps: Int32Array;
  /** Rows from the top that were given. */
  readonly prefixRows: number;
  /** Those of the prefix included. */
  readonly decodedCount: number;
  /** Per row after the first: tokens of the row above that its first token had seen; 0 where the row did not open. */
  readonly openedAt: readonly number[];
  readonly draftCount: number;
  readonly rejectedCount: number;
  /** Per row after the first: its rejected drafts. */
  readonly rejectedIn: readonly number[];
  readonly guessCount: number;
  readonly heldCount: number;
  /** Per forward: its queries by kind. */
  readonly queryCounts: readonly Readonly<Record<FedKind, number>>[];
  /** Most queries in one forward after the prefill. */
  readonly maxQueries: number;
  /** Per forward: ms since the one before it, or since the image got its cache rows. */
  readonly stepMs: readonly number[];
}

export function summarizeTrace({ header, steps }: Trace): TraceSummary {
  const { grid, window, prefix = [] } = header;
  const { rows, columns } = grid;
  const decodedCount = steps.reduce((count, { cells }) => count + cells.length, 0);
  const decodedAt = new Int32Array(rows * columns);
  const decodedCounts = new Int32Array(rows);
  const openedAt = new Array<number>(rows - 1).fill(0);
  const rejectedIn = new Array<number>(rows - 1).fill(0);
  for (const { forward, cells, drafts } of steps) {
    const seen = decodedCounts.slice();
    for (const { type, row } of drafts) {
      if (type === "draft-rejected") rejectedIn[row - 1] = (rejectedIn[row - 1] ?? 0) + 1;
    }
    for (const { row, column } of cells) {
      decodedAt[row * columns + column] = forward;
      decodedCounts[row] = (decodedCounts[row] as number) + 1;
      if (row === 0 || column > 0) continue;
      const accepted = drafts.find((draft) => draft.type === "draft-accepted" && draft.row === row);
      openedAt[row - 1] =
        window.kind === "adaptive" ? (accepted?.window ?? (seen[row - 1] as number)) : window.size;
    }
  }
  const queryCounts = steps.map(countQueries);
  const drafts = steps.flatMap((step) => step.drafts);
  return {
    rows,
    columns,
    forwards: steps.length,
    nextTokenForwards: nextTokenForwardCount(belowPrefix(grid, prefix.length)),
    steps: decodedAt,
    prefixRows: prefix.length,
    decodedCount: prefix.length * columns + decodedCount,
    openedAt,
    draftCount: drafts.length,
    rejectedCount: drafts.filter(({ type }) => type === "draft-rejected").length,
    rejectedIn,
    guessCount: steps.reduce((count, { guesses }) => count + guesses.fedCount, 0),
    heldCount: steps.reduce((count, { guesses }) => count + guesses.heldCount, 0),
    queryCounts,
    maxQueries: Math.max(0, ...steps.slice(1).map(({ queries }) => queries.length)),
    stepMs: steps.map(({ atMs }, k) => atMs - (steps[k - 1]?.atMs ?? 0)),
  };
}

function countQueries({ queries, guesses: { fedCount, heldCount } }: TraceStep): Record<FedKind, number> {
  const counts = { prompt: 0, ordinary: 0, "row-start": 0, surrogate: 0, draft: 0, refresh: 0 };
  for (const { kind } of queries) if (kind !== "guess") counts[kind] += 1;
  return { ...counts, "guess-held": heldCount, "guess-fell": fedCount - heldCount };
}

/** `31 of 96 guesses held`; empty where there was none. */
export function guessesOf({ guessCount, heldCount }: TraceSummary): string {
  return guessCount === 0 ? "" : `${heldCount} of ${guessCount} guesses held`;
}

/** `model, class 3, seed 7` and so on: what was generated. */
export function titleOf({ header }: Trace): string {
  const { model, conditioning, seed, device, dtype } = header;
  const subject =
    conditioning.type === "class"
      ? `class ${conditioning.classIndex}`
      : JSON.stringify(shortened(conditioning.prompt));
  return `${model}, ${subject}, seed ${seed}, on ${device}, ${dtype}`;
}

/** `16 x 16 tokens, window 4: 76 forwards instead of 256 (-70.3 %), at most 9 queries in one`. */
export function scheduleOf({ header }: Trace, summary: TraceSummary): string {
  const { rows, columns, forwards, nextTokenForwards, decodedCount, maxQueries, prefixRows } = summary;
  const isComplete = decodedCount === rows * columns;
  const saved = isComplete
    ? `instead of ${nextTokenForwards} (-${(100 * (1 - forwards / nextTokenForwards)).toFixed(1)} %)`
    : `and then it stopped, with ${decodedCount} of ${rows * columns} cells decoded`;
  const given = prefixRows === 0 ? "" : `, the first ${prefixRows} rows given`;
  return `${rows} x ${columns} tokens${given}, ${nameOf(header.window)}: ${forwards} forwards ${saved}, at most ${maxQueries} queries in one`;
}

function nameOf(window: Trace["header"]["window"]): string {
  switch (window.kind) {
    case "fixed":
      return `window ${window.size}`;
    case "guessed":
      return `guessed window ${window.size}${window.unchanged === 0 ? "" : `, unchanged for ${window.unchanged}`}`;
    case "adaptive":
      return `adaptive window from ${window.min} (${window.test}, ${window.verification})`;
  }
}

/** `12.1 ms per forward (median 11.9, slowest 40.2 in forward 1), 923 ms in all`. */
export function timingOf({ stepMs }: TraceSummary): string {
  const total = stepMs.reduce((sum, ms) => sum + ms, 0);
  const ascending = [...stepMs].sort((a, b) => a - b);
  const slowest = ascending.at(-1) as number;
  const median = ascending[Math.floor(ascending.length / 2)] as number;
  const mean = total / stepMs.length;
  return (
    `${mean.toFixed(1)} ms per forward (median ${median.toFixed(1)}, ` +
    `slowest ${slowest.toFixed(1)} in forward ${stepMs.indexOf(slowest) + 1}), ${Math.round(total)} ms in all`
  );
}

function shortened(prompt: string): string {
  return prompt.length > 60 ? `${prompt.slice(0, 57)}...` : prompt;
}
