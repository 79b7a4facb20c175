import { z } from "zod";
import type { ImageRequest } from "../decode/image.ts";
import { ZiparError } from "../errors.ts";
import { parseOptions } from "../options/parse.ts";
import { LIMITS, MAX_INDEX, type ModelCard } from "../protocol/messages.ts";
import type { TokenGrid } from "../schedule/grid.ts";
import { ALWAYS_GUIDED } from "../schedule/guidance-interval.ts";
import type { Window } from "../schedule/window.ts";
import { isAbortSignal } from "../system/abort-signal.ts";
import { resolveCardGrid } from "./image-size.ts";
import { resolveClass } from "./resolve-class.ts";
import { prefixSchema, resolvePrefix } from "./resolve-prefix.ts";

const MAX_LOOKAHEAD = 1024;

export const lookaheadSchema = z.int().min(0).max(MAX_LOOKAHEAD);

export const adaptiveWindowSchema = z.strictObject({
  kind: z.literal("adaptive"),
  /** Window at which a row's first draft is drawn. Default: half of the model's own, at most a quarter of a row. */
  min: z.int().min(1).optional(),
  verification: z.enum(["overlapped", "sequential"]).default("overlapped"),
  test: z.enum(["rejection", "coupled"]).default("rejection"),
});

export const guessedWindowSchema = z.strictObject({
  kind: z.literal("guessed"),
  /** Default: a quarter of a row, at most the model's own window. */
  size: z.int().min(1).optional(),
  /** Redraws in a row that must have left a cell as it was before it may lock. */
  unchanged: z.int().min(0).max(1000).default(0),
});

export const windowSchema = z.union(
  [
    z.int().min(1, "expected at least 1 token"),
    z.enum(["full", "guessed", "adaptive"]),
    z.discriminatedUnion(
      "kind",
      [guessedWindowSchema, adaptiveWindowSchema],
      'expected kind "guessed" or "adaptive"',
    ),
  ],
  'expected a whole number of tokens, at least 1, "full", "guessed" or "adaptive"',
);

const pixelCount = z.int().min(1).max(MAX_INDEX);

export const pixelSizeSchema = z.strictObject(
  { width: pixelCount, height: pixelCount },
  "expected a size in pixels (width and height)",
);

const sizeSchema = z.union(
  [
    pixelSizeSchema,
    z.custom<`${number}:${number}`>(
      (value) =>
        typeof value === "string" &&
        /^\d+(\.\d+)?:\d+(\.\d+)?$/.test(value) &&
        !/(^|:)0+(\.0+)?(:|$)/.test(value),
    ),
  ],
  'expected a size in pixels (width and height), or a ratio such as "16:9"',
);

export const planSchema = z.strictObject({
  rows: z.int().min(1).max(LIMITS.gridSide),
  columns: z.int().min(1).max(LIMITS.gridSide),
  window: z.union(
    [z.int().min(1, "expected at least 1 token"), z.literal("full")],
    'expected a whole number of tokens, at least 1, or "full"',
  ),
  /** `token`: rows end with a fixed row-end token (Emu3, Lumina-mGPT). */
  rowEnd: z.enum(["none", "token"]).default("none"),
});

/** What goes to a tokenizer. Half of a surrogate pair is no text: UTF-8 cannot carry it. */
const promptSchema = z
  .string()
  .max(LIMITS.promptCharacters, `expected at most ${LIMITS.promptCharacters} characters`)
  .refine((text) => text.isWellFormed(), "expected text without half surrogate pairs (`isWellFormed()`)");

export const SEEDS = `expected a whole number from 0 to ${Number.MAX_SAFE_INTEGER} (2^53 - 1)`;
const SEED = `${SEEDS}, or none for a random one`;

export const generateSchema = z.strictObject({
  /** Text, or the name of a class. */
  prompt: promptSchema.optional(),
  /** Index or name of a class, for class-conditional checkpoints. */
  classLabel: z.union([z.int().min(0), z.string()], "expected the index or the name of a class").optional(),
  negativePrompt: promptSchema.optional(),
  /** Image size in pixels, or the aspect ratio of one that the model knows. Default: the model's first. */
  size: sizeSchema.optional(),
  /** The first rows of the picture; the others are decoded below them, and are what its own would have gone on with. */
  prefix: prefixSchema.optional(),
  /** Tokens the row above must be ahead; `"full"` is next-token order. Default: the model's own. */
  window: windowSchema.optional(),
  /** Steps ahead for which guesses are fed under a fixed window; the tokens do not depend on it. 0: none. */
  lookahead: z
    .union(
      [lookaheadSchema, z.literal("auto")],
      `expected a whole number of steps from 0 to ${MAX_LOOKAHEAD}, or "auto"`,
    )
    .default("auto"),
  guidanceScale: z.number().min(-1000).max(1000).optional(),
  /** Shares of the decoded cells between which guidance is on; outside of them its other branches do not run at all. */
  guidanceInterval: z
    .tuple([z.number().min(0).max(1), z.number().min(0).max(1)], {
      error: "expected two shares of the decoded cells such as [0.2, 0.8], on the command line 0.2:0.8",
    })
    .refine(([from, to]) => from < to, { message: "expected the second share to be larger than the first" })
    .readonly()
    .default(ALWAYS_GUIDED),
  /** 0 is greedy. */
  temperature: z.number().min(0).max(1000).optional(),
  /** 0 turns it off. */
  topK: z.int().min(0).max(MAX_INDEX).optional(),
  /** 1 turns it off. */
  topP: z.number().gt(0).max(1).optional(),
  /** Default: a random one, reported in the result. */
  seed: z.int(SEED).min(0, SEED).max(Number.MAX_SAFE_INTEGER, SEED).optional(),
  /** false: tokens only. */
  image: z.boolean().default(true),
  /** How many previews to send on the way, as `partial-image` events. */
  partialImages: z.int().min(0).max(64).default(0),
  /** Feed a row-end token again once its row is complete. */
  refreshRowEnds: z.boolean().default(false),
  /** Expert: the token that opens a row early in families without row-end tokens; see `SurrogateRule`. */
  surrogate: z.enum(["two-rows-up", "above", "newest"]).default("two-rows-up"),
  /**
   * Called with each line of the run's trace (JSON, without its line break): the header, then one per forward. Promises that
   * it returns are waited for before the result.
   */
  trace: z
    .custom<(line: string) => void>((value) => typeof value === "function", "expected a function")
    .optional(),
  signal: z.custom<AbortSignal>(isAbortSignal, "expected an AbortSignal").optional(),
});

export type PlanOptions = z.input<typeof planSchema>;
export type GenerateOptions = z.input<typeof generateSchema>;

/** What a generation runs with, after defaults and checks against the model card. */
export interface ResolvedGeneration extends ImageRequest {
  readonly trace: ((line: string) => void) | undefined;
}

export function resolvePlanOptions(input: PlanOptions): { grid: TokenGrid; window: number } {
  const { rows, columns, window, rowEnd } = parseOptions(planSchema, input, "plan");
  return {
    grid: { rows, columns, rowEnd },
    window: window === "full" ? columns : checkedWindow(window, columns),
  };
}

/** Fills in the model's defaults and checks everything that only the model card can tell. */
export function resolveGeneration(
  input: GenerateOptions,
  card: ModelCard,
  randomSeed: () => number,
): ResolvedGeneration {
  const options = parseOptions(generateSchema, input, "generate");
  const { rows, columns } = resolveCardGrid(options.size, card);
  const grid = { rows, columns, rowEnd: card.rowEnd };
  if (options.image && card.imageDecoder === null) {
    throw new ZiparError({
      code: "no-image-decoder",
      message:
        `${card.name} came without an image tokenizer, so its tokens cannot be turned into pixels. ` +
        "Put the VQ file beside the weights or name it (engine option `vq`, CLI `--vq FILE`), " +
        "or ask for tokens only (`image: false`, CLI `--no-image`).",
    });
  }
  const { defaults } = card;
  if (card.branches.length === 1 && (options.guidanceScale ?? 1) !== 1) {
    throw invalid(
      `\`guidanceScale\` = ${options.guidanceScale}: ${card.name} was trained without a class that stands for none, so ` +
        "there is nothing that guidance could lead away from; leave it out, or give 1",
    );
  }
  return Object.freeze({
    conditioning: resolveConditioning(options, card),
    grid,
    window: resolveWindow(
      options.window ?? Math.min(defaults.window, grid.columns),
      grid.columns,
      defaults.window,
    ),
    lookahead: options.lookahead,
    sampling: {
      guidanceScale: options.guidanceScale ?? defaults.guidanceScale,
      temperature: options.temperature ?? defaults.temperature,
      topK: options.topK ?? defaults.topK,
      topP: options.topP ?? defaults.topP,
    },
    guidanceInterval: options.guidanceInterval,
    seed: options.seed ?? randomSeed(),
    prefix: options.prefix && resolvePrefix(options.prefix, grid, card),
    image: options.image,
    partialImages: options.partialImages,
    refreshRowEnds: options.refreshRowEnds,
    surrogate: options.surrogate,
    trace: options.trace,
    signal: options.signal,
  });
}

function resolveConditioning(
  options: z.output<typeof generateSchema>,
  card: ModelCard,
): ImageRequest["conditioning"] {
  const { prompt, classLabel, negativePrompt } = options;
  if (card.conditioning.type === "text") {
    if (classLabel !== undefined)
      throw invalid(`${card.name} is made for text prompts; \`classLabel\` means nothing to it`);
    if (prompt === undefined || prompt.trim() === "")
      throw invalid(`${card.name} needs a \`prompt\`${prompt === undefined ? "" : " that says something"}`);
    if (negativePrompt !== undefined && card.conditioning.negativePrompt === null)
      throw invalid(
        `${card.name} takes no \`negativePrompt\`: its unconditional branch is not made from words`,
      );
    return { type: "text", prompt, negativePrompt: negativePrompt ?? null };
  }
  if (negativePrompt !== undefined)
    throw invalid(`${card.name} is class-conditional; it takes no \`negativePrompt\``);
  if (prompt !== undefined && classLabel !== undefined) {
    throw invalid("give either `prompt` (a class name) or `classLabel`, not both");
  }
  return { type: "class", classIndex: resolveClass(classLabel ?? prompt, card.name, card.conditioning) };
}

/**
 * The defaults are those of docs/fidelity.md: a quarter of a row for guessed windows, half of what a fixed one would have
 * for drafts, as rows hardly ever open later from the whole of it. None is wider than the model's own window.
 */
function resolveWindow(input: z.output<typeof windowSchema>, columns: number, modelWindow: number): Window {
  if (input === "full") return { kind: "fixed", size: columns };
  if (typeof input === "number") return { kind: "fixed", size: checkedWindow(input, columns) };
  const window = typeof input === "string" ? windowSchema.parse({ kind: input }) : input;
  if (typeof window !== "object") throw new Error("resolveWindow: unreachable");
  if (window.kind === "guessed") {
    const { kind, unchanged, size = Math.min(modelWindow, Math.ceil(columns / 4)) } = window;
    return { kind, size: checkedWindow(size, columns), unchanged };
  }
  const { kind, verification, test, min = Math.ceil(Math.min(modelWindow, columns / 2) / 2) } = window;
  return { kind, min: checkedWindow(min, columns), verification, test };
}

function checkedWindow(window: number, columns: number): number {
  if (window > columns) {
    throw invalid(`window ${window} is wider than the token grid; expected 1 to ${columns}, or "full"`);
  }
  return window;
}

function invalid(message: string): ZiparError {
  return new ZiparError({ code: "invalid-options", message });
}
