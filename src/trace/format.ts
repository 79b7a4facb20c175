import { z } from "zod";
import { LIMITS } from "../protocol/messages.ts";

export const TRACE_VERSION = 2;

const count = z.int().min(0).max(Number.MAX_SAFE_INTEGER);
/** A token id; the row-end token is `codeCount`, one more than the largest image token. */
const token = z
  .int()
  .min(0)
  .max(2 ** 24);
const side = z.int().min(1).max(LIMITS.gridSide);
const place = { row: count, column: count };

const windowSchema = z.discriminatedUnion("kind", [
  z.strictObject({ kind: z.literal("fixed"), size: side }),
  z.strictObject({ kind: z.literal("guessed"), size: side, unchanged: count }),
  z.strictObject({
    kind: z.literal("adaptive"),
    min: side,
    verification: z.enum(["overlapped", "sequential"]),
    test: z.enum(["rejection", "coupled"]),
  }),
]);

/** The first line: what was generated, and everything that the schedule depends on. */
export const traceHeaderSchema = z.strictObject({
  "zipar-trace": z.literal(TRACE_VERSION),
  model: z.string(),
  device: z.string(),
  dtype: z.string(),
  conditioning: z.discriminatedUnion("type", [
    z.strictObject({ type: z.literal("class"), classIndex: count }),
    z.strictObject({ type: z.literal("text"), prompt: z.string(), negativePrompt: z.string().nullable() }),
  ]),
  grid: z.strictObject({ rows: side, columns: side, rowEnd: z.enum(["none", "token"]) }),
  window: windowSchema,
  refreshRowEnds: z.boolean(),
  surrogate: z.enum(["two-rows-up", "above", "newest"]),
  sampling: z.strictObject({
    guidanceScale: z.number(),
    temperature: z.number(),
    topK: count,
    topP: z.number(),
  }),
  /** Where guidance was on for a part of the image alone. */
  guidanceInterval: z.tuple([z.number(), z.number()]).optional(),
  seed: count,
  /** The first rows of the grid, where they were given and the others decoded. */
  prefix: z.array(z.array(token)).min(1).optional(),
  promptLength: z.int().min(1).max(LIMITS.queries),
  codeCount: token,
});

const drawSchema = z.strictObject({ token, probability: z.number().min(0) });

const distributionSchema = z
  .strictObject({ tokens: z.array(token).min(1), probabilities: z.array(z.number().min(0)).min(1) })
  .refine(({ tokens, probabilities }) => tokens.length === probabilities.length, {
    message: "expected as many probabilities as tokens",
  });

/** What a query's logits were for, and what came back for it. */
const wantSchema = z.discriminatedUnion("type", [
  z.strictObject({ type: z.literal("none") }),
  z.strictObject({ type: z.literal("draw"), ...place, uniform: z.number().min(0).lt(1), result: drawSchema }),
  z.strictObject({ type: z.literal("distribution"), ...place, result: distributionSchema }),
]);

const querySchema = z.strictObject({
  kind: z.enum(["prompt", "ordinary", "row-start", "surrogate", "draft", "refresh", "guess"]),
  token,
  slot: count,
  /** The forward, from 0, in which plain decoding feeds it. */
  step: count,
  want: wantSchema,
});

/** Every further line: one forward of the image. */
export const traceStepSchema = z.strictObject({
  /** From 1, the prefill. */
  forward: z.int().min(1),
  /** When it was committed, in ms after the image got its cache rows. */
  atMs: z.number().min(0),
  /** Steps ahead for which guesses were fed. */
  lookahead: count,
  queries: z.array(querySchema).min(1).max(LIMITS.queries),
  /** Written slots once the forward had run, as [first, end). */
  runs: z.array(z.tuple([count, count])),
  drafts: z.array(
    z.strictObject({
      type: z.enum(["draft-accepted", "draft-rejected"]),
      row: count,
      window: count,
      token,
    }),
  ),
  /** Guesses among the queries, and those of them that held. */
  guesses: z.strictObject({ fedCount: count, heldCount: count }),
  cells: z.array(z.strictObject({ ...place, token })),
});

export type TraceHeader = z.infer<typeof traceHeaderSchema>;
export type TraceStep = z.infer<typeof traceStepSchema>;
export type TraceQuery = TraceStep["queries"][number];

/** A recorded run: step `k` stands on line `k + 2` of its file. */
export interface Trace {
  /** Where it came from, for messages. */
  readonly name: string;
  readonly header: TraceHeader;
  readonly steps: readonly TraceStep[];
}
