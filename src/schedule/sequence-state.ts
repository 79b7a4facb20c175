import type { Distribution } from "./distribution.ts";
import { type FedQueries, nothingFed, recordFed } from "./fed-queries.ts";
import { rowStride, type TokenGrid } from "./grid.ts";
import { type GuessRecord, noGuesses } from "./guess-record.ts";
import { ALWAYS_GUIDED, type GuidanceInterval, guidedSteps } from "./guidance-interval.ts";
import type { RandomKey } from "./random.ts";
import type { SurrogateRule } from "./surrogate.ts";
import type { Window } from "./window.ts";
import { nothingWritten, type WrittenSlots } from "./written-slots.ts";

/** A draft of a row's first token: drawn, not committed, waiting for more context above it. */
export interface Draft {
  readonly token: number;
  /** The law `q` that it was drawn from. */
  readonly distribution: Distribution;
  /** Tokens of the row above that `q` could see. */
  readonly window: number;
  /** Drafts of this row before it. */
  readonly attempt: number;
}

/** What one image's decoding knows. `commitStep` is the only function that changes it. */
export interface SequenceState {
  readonly grid: TokenGrid;
  /** Slots before the first image token. */
  readonly promptLength: number;
  /** Codebook size; it doubles as the row-end token. */
  readonly codeCount: number;
  /** Rows from the top whose tokens were given. */
  readonly prefixRows: number;
  readonly window: Window;
  readonly refreshRowEnds: boolean;
  readonly surrogate: SurrogateRule;
  /** Where guidance is on; no forward crosses its ends. */
  readonly guidanceInterval: GuidanceInterval;
  /** The same as steps of plain decoding; undefined under other windows, which have no order before their tokens. */
  readonly guidedSteps: GuidanceInterval | undefined;
  readonly key: RandomKey;
  /** Raster order; a cell is meaningful once `column < decodedCounts[row]`. */
  readonly tokens: Int32Array;
  /** Per row: committed cells from column 0 on. */
  readonly decodedCounts: Int32Array;
  /** Per row: the window at which it opened; 0 until then, and for row 0. */
  readonly openedAt: Int32Array;
  /** Per row: its draft while the adaptive window is being tested. */
  readonly drafts: (Draft | undefined)[];
  /** Raster order: the token that was redrawn last for a cell which is not decoded. */
  readonly guesses: (number | undefined)[];
  readonly guessRecord: GuessRecord;
  /** Under a guessed window, raster order: the last redraws of a cell that left its token as it was. */
  readonly calmCounts: Uint16Array;
  /** Under a guessed window, per row: 1 unless its last cell was fed with the token that it has now. */
  readonly staleEnds: Uint8Array;
  /** What a query may see: what is fed for good, under a guessed window guesses too. */
  written: WrittenSlots;
  /** From this a lost K/V cache is written again. */
  readonly fed: FedQueries;
  forwardCount: number;
  decodedCount: number;
  draftCount: number;
  rejectedCount: number;
  /** Guesses that were fed. */
  guessCount: number;
  /** Those of them that held. */
  heldCount: number;
}

export interface SequenceOptions {
  readonly grid: TokenGrid;
  readonly promptLength: number;
  readonly codeCount: number;
  readonly window: Window;
  readonly key: RandomKey;
  /** The tokens of the first rows, in raster order: what is decoded goes on from them. Default: none. */
  readonly prefix?: Int32Array;
  /** Feed a row-end token again once its row is complete (the reference keeps the early one). */
  readonly refreshRowEnds?: boolean;
  /** What opens a row early in a family without row-end tokens. Default: `two-rows-up`. */
  readonly surrogate?: SurrogateRule;
  /** Default: always. */
  readonly guidanceInterval?: GuidanceInterval;
}

export function startSequence(options: SequenceOptions): SequenceState {
  const { prefix, ...given } = options;
  const { grid, window, guidanceInterval = ALWAYS_GUIDED } = given;
  const { rows, columns } = grid;
  const prefixRows = prefix === undefined ? 0 : prefix.length / columns;
  const state: SequenceState = {
    ...given,
    prefixRows,
    refreshRowEnds: options.refreshRowEnds ?? false,
    surrogate: options.surrogate ?? "two-rows-up",
    guidanceInterval,
    guidedSteps:
      window.kind === "fixed" ? guidedSteps(grid, window.size, guidanceInterval, prefixRows) : undefined,
    tokens: new Int32Array(rows * columns),
    decodedCounts: new Int32Array(rows),
    openedAt: new Int32Array(rows),
    drafts: new Array<Draft | undefined>(rows).fill(undefined),
    guesses: new Array<number | undefined>(rows * columns).fill(undefined),
    guessRecord: noGuesses(),
    calmCounts: new Uint16Array(rows * columns),
    staleEnds: new Uint8Array(rows).fill(1),
    written: nothingWritten(grid),
    fed: nothingFed(),
    forwardCount: 0,
    decodedCount: 0,
    draftCount: 0,
    rejectedCount: 0,
    guessCount: 0,
    heldCount: 0,
  };
  if (prefix !== undefined) takePrefix(state, prefix);
  return state;
}

/**
 * Leaves the state as a worker that was lost would leave it once it had decoded the rows of the prefix: their K/V are in the
 * books, and what rebuilds a cache writes them. The last position is the first that is fed, for what it predicts.
 */
function takePrefix(state: SequenceState, prefix: Int32Array): void {
  const { grid, promptLength, codeCount, written, prefixRows } = state;
  const { columns } = grid;
  const stride = rowStride(grid);
  const queries = Array.from({ length: promptLength + prefixRows * stride - 1 }, (_, slot) => {
    const [row, column] = [Math.floor((slot - promptLength) / stride), (slot - promptLength) % stride];
    const token = column === columns ? codeCount : (prefix[row * columns + column] as number);
    return { slot, token: slot < promptLength ? 0 : token, step: 0 };
  });
  recordFed(state.fed, queries);
  state.tokens.set(prefix);
  state.decodedCounts.fill(columns, 0, prefixRows);
  state.decodedCount = prefix.length;
  state.staleEnds.fill(0, 0, prefixRows);
  written.cellCounts.fill(columns, 0, prefixRows);
  written.rowEnds.fill(1, 0, prefixRows - 1);
  if (grid.rowEnd === "none") written.cellCounts[prefixRows - 1] = columns - 1;
  state.written = { ...written, prompt: true };
}

export function isComplete(state: SequenceState): boolean {
  return state.decodedCount === state.tokens.length;
}

export function decodedIn(state: SequenceState, row: number): number {
  return state.decodedCounts[row] as number;
}

export function tokenOf(state: SequenceState, row: number, column: number): number {
  return state.tokens[row * state.grid.columns + column] as number;
}
