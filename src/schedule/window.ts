/** How far row `i-1` must be ahead before row `i` may start, in tokens (`zipar` decoding, ICML 2025, section 3). */
export type Window = FixedWindow | GuessedWindow | AdaptiveWindow;

export interface FixedWindow {
  readonly kind: "fixed";
  /** `1 .. columns`; `columns` is next-token order. */
  readonly size: number;
}

/**
 * Rows see guesses of what is not decoded yet, in the place of nothing (docs/algorithm.md). `columns` is next-token order.
 */
export interface GuessedWindow {
  readonly kind: "guessed";
  /** How far beyond a cell the row above must be locked before the cell may lock: `1 .. columns`. */
  readonly size: number;
  /**
   * How often in a row a redraw must have left a cell's token as it was before it may lock, while the row above is not
   * locked to its end; 0 asks for nothing.
   */
  readonly unchanged: number;
}

/** The window of each row is found by testing whether more context changes its first token (section 3.3 of the paper). */
export interface AdaptiveWindow {
  readonly kind: "adaptive";
  /** Window at which a row's first draft is drawn. */
  readonly min: number;
  /**
   * `overlapped` feeds a draft in the forward that verifies it, so that an accepted one has its successor for free.
   * `sequential` is the paper's own order: the draft is fed once it is accepted.
   */
  readonly verification: "overlapped" | "sequential";
  /** `rejection`: accept with probability min(1, p/q). `coupled`: accept when the cell's own random number draws the same token again. */
  readonly test: "rejection" | "coupled";
}

/** The smallest window at which any row may start. */
export function smallestWindow(window: Window): number {
  return window.kind === "adaptive" ? window.min : window.size;
}
