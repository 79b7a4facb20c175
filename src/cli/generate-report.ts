import { relative } from "node:path";
import type { Engine } from "../api/engine.ts";
import type { GenerationResult } from "../api/generation.ts";
import { windowName } from "../api/window-name.ts";
import type { ValuesOf } from "./option.ts";
import type { GENERATE } from "./options.ts";

/** An image in the JSON of `zipar generate --json`. */
export type ImageReport = ReturnType<typeof describeImage>;

export function describeImage(
  { seed, rows, columns, window, stats, tokens, adaptive }: GenerationResult,
  options: ValuesOf<typeof GENERATE>,
  file: string | undefined,
) {
  const { forwards, plainForwards, guesses, nextTokenForwards, reduction } = stats;
  return {
    seed,
    rows,
    columns,
    window: window.kind !== "fixed" ? windowName(window) : options.window === "full" ? "full" : window.size,
    forwards,
    plainForwards,
    guesses,
    nextTokenForwards,
    reduction,
    file: file ?? null,
    ...(options.tokens ? { tokens } : {}),
    ...(adaptive === undefined ? {} : { adaptive }),
  };
}

/** The run as JSON, or as lines of text. */
export function describeRun(
  { card, device, dtype, startMs, rowCosts, workers }: Engine,
  { model, json, image }: ValuesOf<typeof GENERATE>,
  images: readonly ImageReport[],
  wallMs: number,
): string {
  if (json)
    return JSON.stringify({
      model,
      device,
      dtype,
      workers: workers.length,
      startMs: tenths(startMs),
      wallMs: tenths(wallMs),
      rowCosts: rowCosts.map(({ rows, ms }) => ({ rows, ms: tenths(ms) })),
      images,
    });
  const lines = images.map(
    ({ file, forwards, plainForwards, nextTokenForwards, reduction, seed, window }) => {
      const comparison = String(window).startsWith("guessed") ? "at the plain window" : "without lookahead";
      const plain = forwards < plainForwards ? `, ${plainForwards} ${comparison}` : "";
      const share = `-${(100 * reduction).toFixed(1)} %${plain}`;
      const saved = `${forwards} forwards instead of ${nextTokenForwards} (${share})`;
      return `${file === null ? (image ? "standard output" : "tokens") : relative(".", file) || file}  seed ${seed}, window ${window}: ${saved}`;
    },
  );
  const time = `start ${seconds(startMs)}, generation ${seconds(wallMs)}`;
  const others = workers.length > 1 ? ` and ${workers.length - 1} more` : "";
  return [...lines, `${card.name} on ${device}${others}, ${dtype}; ${time}`].join("\n");
}

function seconds(ms: number): string {
  return `${(ms / 1000).toFixed(2)} s`;
}

function tenths(ms: number): number {
  return Math.round(ms * 10) / 10;
}
