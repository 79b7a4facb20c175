import { type Distribution, gumbelArgmax, probabilityOf, residual, tokenAt } from "./distribution.ts";
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
 * `coupled` gives every token of the cell fixed Gumbel noise and accepts when the arg-max is unchanged; every round's
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
    if (isFullContext) return { type: "settled", token: tokenAt(p, uniform(key, row, 0, PURPOSE.token)) };
    return { type: "drafted", token: firstDraft(window, key, row, p) };
  }
  const replacement = replacementOf(window, key, row, draft, p);
  if (replacement === undefined) return { type: "accepted", token: draft.token };
  return { type: isFullContext ? "settled" : "drafted", token: replacement };
}

function firstDraft(window: AdaptiveWindow, key: RandomKey, row: number, p: Distribution): number {
  return window.test === "coupled"
    ? coupledToken(key, row, p)
    : tokenAt(p, uniform(key, row, 0, PURPOSE.token));
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
      const token = coupledToken(key, row, p);
      return token === draft.token ? undefined : token;
    }
    case "rejection": {
      const q = draft.distribution;
      const u = uniform(key, row, 0, PURPOSE.acceptance, draft.attempt);
      if (u * probabilityOf(q, draft.token) < probabilityOf(p, draft.token)) return undefined;
      const excess = residual(p, q);
      if (excess === undefined) return undefined;
      return tokenAt(excess, uniform(key, row, 0, PURPOSE.residual, draft.attempt));
    }
  }
}

function coupledToken(key: RandomKey, row: number, p: Distribution): number {
  return gumbelArgmax(p, (token) => uniform(key, row, 0, PURPOSE.gumbel, token));
}
