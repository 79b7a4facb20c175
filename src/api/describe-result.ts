import type { PictureSettings } from "../picture/settings.ts";
import { belowPrefix, nextTokenForwardCount, plainForwardCount } from "../schedule/grid.ts";
import type { SequenceState } from "../schedule/sequence-state.ts";
import { tokenRows } from "../schedule/token-rows.ts";
import type { ResolvedGeneration } from "./generate-options.ts";
import type { AdaptiveReport, GenerationFields } from "./generation.ts";

/** What a generation is finished with, beside its picture. */
export function describeResult(
  { seed, window }: ResolvedGeneration,
  settings: PictureSettings,
  state: SequenceState,
  wallMs: number,
  restarts: number,
): GenerationFields {
  const { rows, columns } = state.grid;
  const decoded = belowPrefix(state.grid, state.prefixRows);
  const nextTokenForwards = nextTokenForwardCount(decoded);
  const adaptive: AdaptiveReport | undefined =
    window.kind !== "adaptive"
      ? undefined
      : {
          min: window.min,
          verification: window.verification,
          test: window.test,
          openedAt: [...state.openedAt.subarray(1)],
          draftCount: state.draftCount,
          rejectedCount: state.rejectedCount,
        };
  return {
    seed,
    rows,
    columns,
    window,
    settings,
    tokens: tokenRows(state.tokens, columns),
    stats: {
      forwards: state.forwardCount,
      plainForwards:
        window.kind === "adaptive" ? state.forwardCount : plainForwardCount(decoded, window.size),
      guesses: { fed: state.guessCount, held: state.heldCount },
      tokens: decoded.rows * columns,
      promptTokens: state.promptLength,
      nextTokenForwards,
      reduction: 1 - state.forwardCount / nextTokenForwards,
      wallMs,
      restarts,
    },
    ...(adaptive === undefined ? {} : { adaptive }),
  };
}
