import { PURPOSE, uniform } from "./random.ts";
import type { SequenceState } from "./sequence-state.ts";
import type { WrittenSlots } from "./written-slots.ts";

/**
 * Why a query is fed.
 * - `prompt`: a prompt position; the last one is the predecessor of cell (0, 0)
 * - `ordinary`: the newest token of a row
 * - `row-start`: the true predecessor of a row's first cell (row-end token, or the last cell of the row above)
 * - `surrogate`: a decoded token standing in for that predecessor; its K/V are provisional
 * - `draft`: an unverified first token of a row, fed so that its successor comes for free
 * - `refresh`: the true token of a slot that was written early; no logits needed
 * - `guess`: what a cell is taken for before it is decoded, in the place of any of these but a draft
 */
export type QueryKind = "prompt" | "ordinary" | "row-start" | "surrogate" | "draft" | "refresh" | "guess";

/** What a query's logits are for; `row` and `column` are those of the cell that they predict. */
export type Want =
  | { readonly type: "none" }
  | { readonly type: "draw"; readonly row: number; readonly column: number; readonly uniform: number }
  | { readonly type: "distribution"; readonly row: number; readonly column: number };

/** One (token, slot) fed to a forward. */
export interface Query {
  readonly kind: QueryKind;
  readonly token: number;
  readonly slot: number;
  /** The forward, from 0, in which plain decoding feeds it. It sees no slot that was written for a later one. */
  readonly step: number;
  readonly want: Want;
}

/** The part of one forward that belongs to one sequence. */
export interface StepPlan {
  /** In ascending slot order. */
  readonly queries: readonly Query[];
  /** Written slots once the forward has run. */
  readonly written: WrittenSlots;
  /** `written` as runs [first, end), flattened. */
  readonly runs: Int32Array;
  /** Steps ahead for which guesses were fed. */
  readonly lookahead: number;
}

/** What a query wants whose logits nobody needs. */
export const NOTHING: Want = { type: "none" };

/** The wish for a cell's token, at the cell's own random number. */
export function drawOf(state: SequenceState, row: number, column: number): Want {
  return { type: "draw", row, column, uniform: uniform(state.key, row, column, PURPOSE.token) };
}
