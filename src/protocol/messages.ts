/**
 * The wire between the SDK and a worker, version 2: the only hand-written definition.
 *
 * A message is one msgpack header followed by raw array frames. The header lists its frames, in order,
 * with dtype and shape. `proto/` holds the JSON Schema generated from this file, golden messages that both
 * languages read, and a page on message order.
 *
 * Vocabulary. A *query* is one (token, slot) fed to a forward. Tokens on the wire are codebook indices
 * `0 .. codeCount-1`; `codeCount` itself stands for the family's row-end token. A query whose slot lies in the
 * prompt (`slot < promptLength`) takes its embedding from the prompt that the worker holds; its token is 0.
 * The worker derives what RoPE sees from the slot: the SDK never speaks of positions.
 */
import { z } from "zod";

export const PROTOCOL_VERSION = 2;

/** Bounds that both sides check before they allocate. */
export const LIMITS = {
  headerBytes: 1 << 20,
  frameBytes: 1 << 28,
  frames: 8,
  sequences: 4096,
  images: 1024,
  queries: 1 << 20,
  promptCharacters: 1 << 16,
  tokenCharacters: 128,
  warnings: 16,
  warningCharacters: 4096,
  gridSide: 1024,
  weightsKeyCharacters: 128,
} as const;

/** The largest number of most fields: what an int32 holds. */
export const MAX_INDEX = 2 ** 31 - 1;

const index = z.int().min(0).max(MAX_INDEX);
const positive = index.min(1);
const counter = z.int().min(0).max(Number.MAX_SAFE_INTEGER);

export const frameSchema = z.strictObject({
  name: z.string().max(64),
  dtype: z.enum(["int32", "float32", "float64", "uint8"]),
  shape: z.array(index).max(4),
});

const errorSchema = z.strictObject({
  code: z.enum([
    "protocol",
    "protocol-version",
    "bad-request",
    "prompt",
    "checkpoint",
    "device",
    "out-of-memory",
    "not-ready",
    "python-environment",
    "internal",
  ]),
  message: z.string(),
  traceback: z.string().optional(),
  /** Figures that belong to the error, e.g. bytes wanted and bytes free. */
  details: z.record(z.string(), z.union([z.string(), z.number(), z.boolean(), z.null()])).optional(),
});

// ---- SDK to worker

const requestBase = {
  /** Which incarnation of the worker is meant; anything else is stale. */
  epoch: counter,
  /** Increases by one with each request; the reply repeats it. */
  request: counter,
  frames: z.array(frameSchema).max(LIMITS.frames),
};

/** Where files of a checkpoint are: on the worker's disk, or in a repository of the Hugging Face hub. */
export const sourceSchema = z.discriminatedUnion("type", [
  /** Absolute path of a directory or of a weights file. */
  z.strictObject({ type: z.literal("path"), path: z.string().min(1) }),
  z.strictObject({
    type: z.literal("hub"),
    /** `owner/name`. */
    repository: z.string().regex(/^[A-Za-z0-9_.-]+\/[A-Za-z0-9_.-]+$/),
    /** One file or folder in it; null: whatever the family needs. */
    path: z.string().min(1).nullable(),
    /** Branch, tag or commit; null: the main branch. */
    revision: z.string().min(1).nullable(),
  }),
]);

const modelSchema = z.strictObject({
  weights: sourceSchema,
  /** The image tokenizer, when it does not lie beside the weights. */
  vq: sourceSchema.nullable(),
  /** The text encoder or text tokenizer, when it does not lie beside the weights. */
  textEncoder: sourceSchema.nullable(),
  /** Image size in pixels, for checkpoints that do not say. */
  size: z.strictObject({ width: index, height: index }).nullable(),
  /** Which of several sets of weights in a file is meant, e.g. "ema"; null: the family's choice. */
  weightsKey: z.string().min(1).max(LIMITS.weightsKeyCharacters).nullable(),
});

const loadBase = {
  ...requestBase,
  model: modelSchema,
  /** "cuda:0+cuda:1": one model over both; "cpu+cpu": over two processes. */
  device: z.string().regex(/^(auto|cpu(\+cpu){0,15}|cuda|cuda:[0-9]+(\+cuda:[0-9]+){0,15})$/),
  dtype: z.enum(["auto", "float32", "bfloat16", "float16"]),
  /** Of the matrices in the decoder's layers: numbers of the dtype, or int8 with a scale for each row. */
  weights: z.enum(["full", "int8"]),
  /** Of keys and values: numbers of the dtype, or int8 with a scale for each head of each slot. */
  kvCache: z.enum(["full", "int8"]),
};

/** Loads a checkpoint. Replies: `progress`..., then `ready`. */
export const initSchema = z.strictObject({
  type: z.literal("init"),
  ...loadBase,
  protocolVersion: index,
  /** Images that the K/V cache shall hold: a cache row for each branch of each. */
  imageCount: z.int().min(1).max(LIMITS.images),
  /** Whether fewer will do, at least one, where the memory does not suffice. */
  fewerImages: z.boolean(),
  /** Whether forwards of few queries run as CUDA graphs, where the model runs on a GPU. */
  cudaGraphs: z.boolean(),
});

/** Reads what a checkpoint is, without loading it. Replies: `progress`..., then `described`. */
export const describeSchema = z.strictObject({ type: z.literal("describe"), ...loadBase });

/** Tokenises and holds a prompt for a new sequence. Reply: `prompt-encoded`. */
export const encodePromptSchema = z.strictObject({
  type: z.literal("encode-prompt"),
  ...requestBase,
  /** Never used before in this epoch. */
  sequence: counter,
  /** One cache row per branch, in the card's branch order; one row alone is the conditional branch. */
  cacheRows: z.array(index).min(1).max(4),
  rows: z.int().min(1).max(LIMITS.gridSide),
  columns: z.int().min(1).max(LIMITS.gridSide),
  conditioning: z.discriminatedUnion("type", [
    z.strictObject({ type: z.literal("class"), classIndex: index }),
    z.strictObject({
      type: z.literal("text"),
      prompt: z.string().max(LIMITS.promptCharacters),
      /** null: the family's own negative prompt. */
      negativePrompt: z.string().max(LIMITS.promptCharacters).nullable(),
    }),
  ]),
});

/** What a forward needs to know of one of its sequences. Its queries, runs and uniforms follow in this order in the frames. */
export const forwardSequenceSchema = z.strictObject({
  sequence: counter,
  /** Which of the sequence's branches run, as ascending indices; one alone draws without guidance. */
  branches: z.array(z.int().min(0).max(3)).min(1).max(4),
  queryCount: z.int().min(1).max(LIMITS.queries),
  runCount: z.int().min(1).max(LIMITS.queries),
  drawCount: z.int().min(0).max(LIMITS.queries),
  /** `u + scale * (c - u)` on raw logits; ignored where one branch runs. */
  guidanceScale: z.number().min(-1000).max(1000),
  /** 0 is greedy. */
  temperature: z.number().min(0).max(1000),
  /** 0: off. */
  topK: index,
  /** 1: off. */
  topP: z.number().gt(0).max(1),
});

/**
 * One transformer forward over queries of several sequences. Reply: `forward-done`.
 *
 * Frames: `tokens` int32 [Q], `slots` int32 [Q], `wants` uint8 [Q] (see `WANT`),
 * `uniforms` float64 [D] in [0, 1) (one per wanted draw), `runs` int32 [R, 2] (written slots as
 * [first, end) pairs, ascending, those that this forward writes included), `steps` int32 [Q].
 *
 * A query attends to exactly the written slots that are `<=` its own and were written at a step `<=` its own: the worker
 * keeps with the K/V of each slot the step of the query that wrote them. Steps number the forwards of plain decoding.
 * One forward may so do the work of several: where it feeds guesses ahead, where rows are not equally far, and where it
 * rebuilds K/V that were lost, or that a branch missed while guidance was off.
 */
export const forwardSchema = z.strictObject({
  type: z.literal("forward"),
  ...requestBase,
  sequences: z.array(forwardSequenceSchema).min(1).max(LIMITS.sequences),
});

/** What a query is fed for. */
export const WANT = { none: 0, draw: 1, distribution: 2 } as const;

/** Token grid to pixels. Frame: `codes` int32 [rows, columns]. Reply: `image-decoded`. */
export const decodeImageSchema = z.strictObject({ type: z.literal("decode-image"), ...requestBase });

/**
 * Where the attention of a finished image goes: one teacher-forced pass in raster order through the conditional branch.
 * The K/V cache is neither read nor written. Frame: `codes` int32 [rows, columns], the grid of the sequence's prompt.
 * Reply: `profile-done`.
 */
export const profileSchema = z.strictObject({
  type: z.literal("profile"),
  ...requestBase,
  /** An encoded prompt. */
  sequence: counter,
});

/** Forgets sequences. Reply: `done`. */
export const releaseSchema = z.strictObject({
  type: z.literal("release"),
  ...requestBase,
  sequences: z.array(counter).max(LIMITS.sequences),
});

/** Reply: `stats-report`. */
export const statsSchema = z.strictObject({ type: z.literal("stats"), ...requestBase });

/**
 * Turns away a worker that has said hello. No reply follows, and no other request. All versions of the protocol write this
 * message and `hello` alike, so that each side can tell its user what is wrong.
 */
export const refuseSchema = z.strictObject({
  type: z.literal("refuse"),
  /** That of the hello. */
  epoch: counter,
  /** 0: it belongs to no conversation. */
  request: counter,
  frames: z.array(frameSchema).max(0),
  /** `replayed`: the epoch of the hello was used before. */
  reason: z.enum(["protocol-version", "token", "replayed"]),
  message: z.string(),
});

/** Ends the worker. Reply: `done`, then the process exits with code 0. */
export const shutdownSchema = z.strictObject({ type: z.literal("shutdown"), ...requestBase });

export const requestSchema = z.discriminatedUnion("type", [
  initSchema,
  describeSchema,
  encodePromptSchema,
  forwardSchema,
  decodeImageSchema,
  profileSchema,
  releaseSchema,
  statsSchema,
  refuseSchema,
  shutdownSchema,
]);

// ---- worker to SDK

const replyBase = { epoch: counter, request: counter, frames: z.array(frameSchema).max(LIMITS.frames) };

/** The first message of a worker. It proves with the token that it is the one that is meant. */
export const helloSchema = z.strictObject({
  type: z.literal("hello"),
  /** The one that the engine gave to the worker that it started; a worker that dials in from elsewhere chooses a new one each time. */
  epoch: counter,
  frames: z.array(frameSchema).max(0),
  protocolVersion: index,
  workerVersion: z.string().max(64),
  pid: index,
  token: z.string().max(LIMITS.tokenCharacters),
});

/** Life sign of a long operation. `total` is null where it is not known. */
export const progressSchema = z.strictObject({
  type: z.literal("progress"),
  ...replyBase,
  phase: z.string().max(64),
  completed: z.number().min(0),
  total: z.number().min(0).nullable(),
  unit: z.string().max(16),
});

/** Life sign of a worker that is busy with a request, some times a second. */
export const pulseSchema = z.strictObject({
  type: z.literal("pulse"),
  ...replyBase,
  /** Grows with every layer, tensor and report of progress: it tells slow work from none. */
  count: counter,
});

/** Everything that TypeScript knows of a model family. Adding a family adds no TypeScript. */
export const modelCardSchema = z.strictObject({
  family: z.string().max(64),
  name: z.string().max(256),
  parameterCount: counter,
  /** Size of the codebook; tokens on the wire are below it. */
  codeCount: z
    .int()
    .min(2)
    .max(2 ** 24),
  /** Whether a fixed row-end token follows each row of the sequence. */
  rowEnd: z.enum(["none", "token"]),
  /** Token grids that the checkpoint knows, the default first. */
  grids: z
    .array(z.strictObject({ rows: index, columns: index, width: index, height: index }))
    .min(1)
    .max(1024),
  conditioning: z.discriminatedUnion("type", [
    z.strictObject({
      type: z.literal("class"),
      classCount: positive,
      classNames: z.array(z.string()).nullable(),
    }),
    z.strictObject({
      type: z.literal("text"),
      /** What the unconditional branch is told unless the user says otherwise; null: the family takes no negative prompt. */
      negativePrompt: z.string().nullable(),
      maxPromptTokens: positive,
    }),
  ]),
  /** CFG branches, the conditional first. */
  branches: z.array(z.string()).min(1).max(4),
  defaults: z.strictObject({
    guidanceScale: z.number(),
    temperature: z.number().min(0),
    topK: index,
    topP: z.number().gt(0).max(1),
    window: positive,
  }),
  /** null: tokens can be generated but not turned into pixels. */
  imageDecoder: z.strictObject({ pixelsPerToken: positive }).nullable(),
  /** K and V of all layers, for one slot of one branch. */
  kvBytesPerSlot: counter,
});

/** What the user should know although it is no error, a sentence each. */
const warnings = z.array(z.string().max(LIMITS.warningCharacters)).max(LIMITS.warnings);

/** Reply to `init`. */
export const readySchema = z.strictObject({
  type: z.literal("ready"),
  ...replyBase,
  card: modelCardSchema,
  /** e.g. "cpu" or "cuda:0 NVIDIA H100". */
  device: z.string(),
  dtype: z.enum(["float32", "bfloat16", "float16"]),
  limits: z.strictObject({
    cacheRowCount: index,
    /** Slots per cache row. */
    slotCount: index,
  }),
  warnings,
});

/** Reply to `describe`. */
export const describedSchema = z.strictObject({
  type: z.literal("described"),
  ...replyBase,
  card: modelCardSchema,
  device: z.string(),
  dtype: z.enum(["float32", "bfloat16", "float16"]),
  /** Bytes on the device once loaded, by part. */
  weights: z.array(z.strictObject({ part: z.string().max(64), bytes: counter })).max(16),
  /** Slots per cache row: the longest prompt and the largest token grid. */
  slotCount: index,
  /** K/V cache of one image: all slots of all branches. */
  cacheBytesPerImage: counter,
  /** Memory that can be allocated now; null where the system does not say. */
  freeBytes: counter.nullable(),
  warnings,
});

/** Reply to `encode-prompt`. The prompt occupies slots `0 .. promptLength-1` of every branch. */
export const promptEncodedSchema = z.strictObject({
  type: z.literal("prompt-encoded"),
  ...replyBase,
  promptLength: positive,
  branches: z
    .array(
      z.strictObject({
        name: z.string(),
        /** Left padding of this branch: so many first slots are never attended to. */
        padding: index,
      }),
    )
    .min(1)
    .max(4),
  warnings,
});

/**
 * Reply to `forward`. Frames, in query order:
 * `drawnTokens` int32 [D], `drawnProbabilities` float32 [D] (under the filtered distribution),
 * `distributionLengths` int32 [N], `distributionTokens` int32 [sum], `distributionProbabilities` float32 [sum]
 * (tokens ascending, probabilities after guidance, temperature, top-k and top-p, summing to 1).
 */
export const forwardDoneSchema = z.strictObject({ type: z.literal("forward-done"), ...replyBase, warnings });

/** Reply to `decode-image`. Frame: `pixels` uint8 [height, width, 3], RGB. */
export const imageDecodedSchema = z.strictObject({ type: z.literal("image-decoded"), ...replyBase });

/**
 * Reply to `profile`. Attention weights, each query's summing to 1 over all that it sees. A query is named by the cell
 * that it predicts; the first cell's, which sees no image, is left out.
 *
 * `mass` float32 [layers, heads, rows, 2 * columns - 1]: what a query pays on average to the cell so many rows up, and
 * `k - (columns - 1)` columns to the right of the predicted cell.
 * `otherMass` float32 [layers, heads]: the same for the prompt and the row ends; it completes `mass` to 1.
 * `rowStartMass` float32 [rows - 1, layers, heads, columns]: what the query that predicts the first cell of each row
 * after the first pays to the row above, by column.
 * `rowStartTotal` float32 [rows - 1, layers, heads]: what it pays to all image cells.
 */
export const profileDoneSchema = z.strictObject({ type: z.literal("profile-done"), ...replyBase });

export const doneSchema = z.strictObject({ type: z.literal("done"), ...replyBase });

export const statsReportSchema = z.strictObject({
  type: z.literal("stats-report"),
  ...replyBase,
  forwardCount: counter,
  /** Time inside forwards, in ms, since the worker started. */
  forwardMs: z.number().min(0),
  sequenceCount: index,
  residentBytes: counter,
  deviceBytes: counter.nullable(),
});

/** The request failed; the worker goes on. */
export const errorReplySchema = z.strictObject({
  type: z.literal("error"),
  ...replyBase,
  error: errorSchema,
});

/** The worker cannot go on and exits after this message. */
export const fatalSchema = z.strictObject({
  type: z.literal("fatal"),
  epoch: counter,
  frames: z.array(frameSchema).max(0),
  error: errorSchema,
});

/**
 * The worker wants to leave. It goes on with the sequences that it holds and ends once it holds none, or at its own
 * deadline; the SDK gives it no new images. Sent once, unasked, between other replies.
 */
export const leavingSchema = z.strictObject({
  type: z.literal("leaving"),
  epoch: counter,
  frames: z.array(frameSchema).max(0),
});

export const replySchema = z.discriminatedUnion("type", [
  helloSchema,
  progressSchema,
  pulseSchema,
  readySchema,
  describedSchema,
  promptEncodedSchema,
  forwardDoneSchema,
  imageDecodedSchema,
  profileDoneSchema,
  doneSchema,
  statsReportSchema,
  errorReplySchema,
  fatalSchema,
  leavingSchema,
]);

export type Frame = z.infer<typeof frameSchema>;
export type Request = z.infer<typeof requestSchema>;
export type Reply = z.infer<typeof replySchema>;
export type Refuse = z.infer<typeof refuseSchema>;
export type ModelCard = z.infer<typeof modelCardSchema>;
export type Source = z.infer<typeof sourceSchema>;
export type Described = z.infer<typeof describedSchema>;
export type Ready = z.infer<typeof readySchema>;
export type ForwardSequence = z.infer<typeof forwardSequenceSchema>;
export type WorkerFailure = z.infer<typeof errorSchema>;
