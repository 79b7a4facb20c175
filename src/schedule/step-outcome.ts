import type { Distribution } from "./distribution.ts";

/** A drawn token and its probability under the filtered distribution. */
export interface Draw {
  readonly token: number;
  readonly probability: number;
}

/** What a forward returned for one query: nothing, a draw or a distribution, as the query wanted. */
export type QueryResult = Draw | Distribution | undefined;

export interface CommittedCell {
  readonly row: number;
  readonly column: number;
  readonly token: number;
}

/** What happened to a row's draft. */
export interface DraftOutcome {
  readonly type: "draft-accepted" | "draft-rejected";
  readonly row: number;
  /** Tokens of the row above that the draft had seen. */
  readonly window: number;
  readonly token: number;
}

/** What happened to the guesses of a forward. */
export interface GuessOutcome {
  readonly fedCount: number;
  /** Those that were the final token of their cell, in a context that was final. */
  readonly heldCount: number;
}

export interface StepOutcome {
  readonly cells: readonly CommittedCell[];
  readonly drafts: readonly DraftOutcome[];
  readonly guesses: GuessOutcome;
}

export function asDraw(result: QueryResult): Draw {
  if (result !== undefined && "token" in result) return result;
  throw new Error("commitStep: a draw was wanted and not returned");
}
