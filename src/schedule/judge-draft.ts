import { type Distribution, drawToken, probabilityOf, residual } from "./distribution.ts";
import { PURPOSE, type RandomKey, uniform } from "./random.ts";
import type { Draft } from "./sequence-state.ts";
import type { AdaptiveWindow } from "./window.ts";

/** What becomes of a row's first token after a forward that gave its distribution `p`. */
export type Verdict =
  /** Commit the draft. */
  | { readonly type: "accepted"; readonly token: number }
  /** The first draft, or its replacement: test it against more context. */
  | { readonly type: "drafted"; readonly token: number }
  /** The row above is complete, so `p` is final: commit this token. */
  | { readonly type: "settled"; readonly token: number };

/**
 * The adaptive window's test (paper section 3.3; acceptance rule of Leviathan et al. 2023, algorithm 1).
 *
 * `rejection` accepts with probability min(1, p/q) and redraws from norm(max(0, p - q)): over accepted and rejected
 * drafts together the result follows the newest `p` exactly. Stopping at the first acceptance makes the committed
 * token only approximately lawful, because a row that happens to be accepted early keeps its early context.
 *
 * `coupled` draws at the cell's own number in every round and accepts when the token is the same again; every round's
 * draft follows its own `p` exactly and no residual is needed.
 */
export function judgeDraft(
  window: AdaptiveWindow,
  key: RandomKey,
  row: number,
  draft: Draft | undefined,
  p: Distribution,
  isFullContext: boolean,
): Verdict {
  if (draft === undefined) {
    return { type: isFullContext ? "settled" : "drafted", token: ownDraw(key, row, p) };
  }
  const replacement = replacementOf(window, key, row, draft, p);
  if (replacement === undefined) return { type: "accepted", token: draft.token };
  return { type: isFullContext ? "settled" : "drafted", token: replacement };
}

/** The token that replaces a rejected draft; `undefined` when the draft is accepted. */
function replacementOf(
  window: AdaptiveWindow,
  key: RandomKey,
  row: number,
  draft: Draft,
  p: Distribution,
): number | undefined {
  switch (window.test) {
    case "coupled": {
      const token = ownDraw(key, row, p);
      return token === draft.token ? undefined : token;
    }
    case "rejection": {
      const q = draft.distribution;
      const u = uniform(key, row, 0, PURPOSE.acceptance, draft.attempt);
      if (u * probabilityOf(q, draft.token) < probabilityOf(p, draft.token)) return undefined;
      const excess = residual(p, q);
      if (excess === undefined) return undefined;
      return drawToken(excess, uniform(key, row, 0, PURPOSE.residual, draft.attempt));
    }
  }
}

/** At the number of the row's first cell. */
function ownDraw(key: RandomKey, row: number, p: Distribution): number {
  return drawToken(p, uniform(key, row, 0, PURPOSE.token));
}
