import { relative } from "node:path";
import type { Engine } from "../api/engine.ts";
import type { GenerationResult } from "../api/generation.ts";
import type { ValuesOf } from "./option.ts";
import type { GENERATE } from "./options.ts";

/** An image in the JSON of `zipar generate --json`. */
export type ImageReport = ReturnType<typeof describeImage>;

export function describeImage(
  { seed, rows, columns, window, stats, tokens, adaptive }: GenerationResult,
  options: ValuesOf<typeof GENERATE>,
  file: string | undefined,
) {
  const { forwards, nextTokenForwards, reduction } = stats;
  return {
    seed,
    rows,
    columns,
    window: window.kind === "adaptive" ? "adaptive" : options.window === "full" ? "full" : window.size,
    forwards,
    nextTokenForwards,
    reduction,
    file: file ?? null,
    ...(options.tokens ? { tokens } : {}),
    ...(adaptive === undefined ? {} : { adaptive }),
  };
}

/** The run as JSON, or as lines of text. */
export function describeRun(
  { card, device, dtype, startMs }: Engine,
  { model, json }: ValuesOf<typeof GENERATE>,
  images: readonly ImageReport[],
  wallMs: number,
): string {
  if (json)
    return JSON.stringify({ model, device, dtype, startMs: tenths(startMs), wallMs: tenths(wallMs), images });
  const lines = images.map(({ file, forwards, nextTokenForwards, reduction, seed, window }) => {
    const saved = `${forwards} forwards instead of ${nextTokenForwards} (-${(100 * reduction).toFixed(1)} %)`;
    return `${file === null ? "tokens" : relative(".", file) || file}  seed ${seed}, window ${window}: ${saved}`;
  });
  const time = `start ${seconds(startMs)}, generation ${seconds(wallMs)}`;
  return [...lines, `${card.name} on ${device}, ${dtype}; ${time}`].join("\n");
}

function seconds(ms: number): string {
  return `${(ms / 1000).toFixed(2)} s`;
}

function tenths(ms: number): number {
  return Math.round(ms * 10) / 10;
}
