/** One example of every message of the protocol, and more where a message has several shapes. */

import type { z } from "zod";
import type { NamedArray } from "#zipar/protocol/codec";
import type {
  fatalSchema,
  helloSchema,
  leavingSchema,
  ModelCard,
  replySchema,
  requestSchema,
  WorkerFailure,
} from "#zipar/protocol/messages";

type RequestHeader = z.input<typeof requestSchema>;
type ReplyHeader = z.input<typeof replySchema>;
/** A worker says hello before, and takes its leave after, all requests. */
type Unasked<Schema extends z.ZodType> = Omit<z.input<Schema>, "frames">;
type FieldsOf<Header, Type> = Omit<Extract<Header, { type: Type }>, "type" | "epoch" | "request" | "frames">;

export interface GoldenMessage {
  readonly name: string;
  readonly direction: "request" | "reply";
  readonly header: { readonly type: string } & Record<string, unknown>;
  readonly arrays: readonly NamedArray[];
}

const EPOCH = 3;
const CARD: ModelCard = {
  family: "llamagen",
  name: "demo",
  parameterCount: 1234567,
  codeCount: 512,
  rowEnd: "none",
  grids: [{ rows: 16, columns: 16, width: 128, height: 128 }],
  conditioning: { type: "class", classCount: 3, classNames: ["lighthouse", "mountain", "Würfel"] },
  branches: ["conditional", "unconditional"],
  defaults: { guidanceScale: 1.5, temperature: 1, topK: 0, topP: 0.95, window: 4 },
  imageDecoder: { pixelsPerToken: 8 },
  kvBytesPerSlot: 12288,
};
const SAMPLING = { guidanceScale: 4, temperature: 0.75, topK: 2000, topP: 1 };
const FAILURE: WorkerFailure = {
  code: "out-of-memory",
  message: "the K/V cache needs 2147483648 bytes and 1073741824 are free",
  traceback: "Traceback (most recent call last):\n  ...\n",
  details: { wantedBytes: 2147483648, freeBytes: 1073741824, device: "cuda:0", retry: false, hint: null },
};

export const goldenMessages: readonly GoldenMessage[] = [
  request("init", 1, {
    protocolVersion: 2,
    model: {
      weights: { type: "path", path: "/models/demo" },
      vq: null,
      textEncoder: null,
      size: null,
      weightsKey: null,
    },
    device: "auto",
    dtype: "auto",
    weights: "full",
    kvCache: "full",
    imageCount: 8,
    fewerImages: true,
    cudaGraphs: false,
  }),
  request(
    "init",
    1,
    {
      protocolVersion: 2,
      model: {
        weights: { type: "path", path: "/models/c2i_B_256.pt" },
        vq: { type: "path", path: "/models/vq_ds16_c2i.pt" },
        textEncoder: null,
        size: { width: 256, height: 256 },
        weightsKey: "ema",
      },
      device: "cuda:1",
      dtype: "bfloat16",
      weights: "int8",
      kvCache: "int8",
      imageCount: 1,
      fewerImages: false,
      cudaGraphs: true,
    },
    [],
    "with-size",
  ),
  request("describe", 1, {
    model: {
      weights: { type: "hub", repository: "BAAI/Emu3-Gen", path: null, revision: null },
      vq: {
        type: "hub",
        repository: "BAAI/Emu3-VisionTokenizer",
        path: "model.safetensors",
        revision: "main",
      },
      textEncoder: { type: "path", path: "/models/flan-t5-xl" },
      size: null,
      weightsKey: null,
    },
    device: "auto",
    dtype: "auto",
    weights: "full",
    kvCache: "full",
  }),
  request("encode-prompt", 2, {
    sequence: 7,
    cacheRows: [0, 1],
    rows: 16,
    columns: 16,
    conditioning: { type: "class", classIndex: 2 },
  }),
  request(
    "encode-prompt",
    2,
    {
      sequence: 8,
      cacheRows: [4],
      rows: 90,
      columns: 90,
      conditioning: { type: "text", prompt: "ein Leuchtturm bei Dämmerung 🌅", negativePrompt: null },
    },
    [],
    "text",
  ),
  // two sequences: an ordinary query, a row start that wants a distribution and a draft; then a prefill
  request(
    "forward",
    3,
    {
      sequences: [
        { sequence: 7, branches: [0, 1], queryCount: 3, runCount: 2, drawCount: 2, ...SAMPLING },
        {
          sequence: 8,
          branches: [0],
          queryCount: 2,
          runCount: 1,
          drawCount: 1,
          ...SAMPLING,
          temperature: 0,
          topP: 0.5,
        },
      ],
    },
    [
      { name: "tokens", data: Int32Array.of(17, 5, 511, 0, 0) },
      { name: "slots", data: Int32Array.of(4, 16, 17, 0, 1) },
      { name: "wants", data: Uint8Array.of(1, 2, 1, 0, 1) },
      { name: "uniforms", data: Float64Array.of(0.1, 1 - 2 ** -53, 0) },
      { name: "runs", data: Int32Array.of(0, 5, 16, 18, 0, 2), shape: [3, 2] },
      { name: "steps", data: Int32Array.of(9, 9, 10, 0, 0) },
    ],
  ),
  // the unconditional branch is rebuilt: two steps at once
  request(
    "forward",
    4,
    {
      sequences: [{ sequence: 7, branches: [1], queryCount: 3, runCount: 1, drawCount: 0, ...SAMPLING }],
    },
    [
      { name: "tokens", data: Int32Array.of(0, 17, 5) },
      { name: "slots", data: Int32Array.of(0, 1, 2) },
      { name: "wants", data: Uint8Array.of(0, 0, 0) },
      { name: "uniforms", data: Float64Array.of() },
      { name: "runs", data: Int32Array.of(0, 3), shape: [1, 2] },
      { name: "steps", data: Int32Array.of(0, 1, 1) },
    ],
    "rebuild",
  ),
  request("decode-image", 4, {}, [
    { name: "codes", data: Int32Array.of(0, 1, 2, 509, 510, 511), shape: [2, 3] },
  ]),
  request("profile", 5, { sequence: 7 }, [
    { name: "codes", data: Int32Array.of(0, 1, 2, 509, 510, 511), shape: [3, 2] },
  ]),
  request("release", 5, { sequences: [7, 2 ** 40] }),
  request("stats", 2 ** 33, {}),
  request("refuse", 0, {
    reason: "token",
    message: "the worker's token is not the one that the engine expects",
  }),
  request("shutdown", 7, {}),

  {
    name: "hello",
    direction: "reply",
    header: {
      type: "hello",
      epoch: EPOCH,
      protocolVersion: 2,
      workerVersion: "0.1.0",
      pid: 4242,
      token: "0123456789abcdef".repeat(4),
    } satisfies Unasked<typeof helloSchema>,
    arrays: [],
  },
  reply("progress", 1, { phase: "weights", completed: 1048576, total: 4194304, unit: "bytes" }),
  reply("pulse", 7, { count: 1234 }),
  reply("progress", 1, { phase: "compile", completed: 0.5, total: null, unit: "" }, [], "of-unknown-length"),
  reply("ready", 1, {
    card: CARD,
    device: "cpu",
    dtype: "float32",
    limits: { cacheRowCount: 16, slotCount: 257 },
    warnings: ["the model runs on the CPU: no driver answers"],
  }),
  reply(
    "ready",
    1,
    {
      card: {
        ...CARD,
        family: "emu3",
        rowEnd: "token",
        conditioning: { type: "text", negativePrompt: "blurry", maxPromptTokens: 1024 },
        imageDecoder: null,
      },
      device: "cuda:0 NVIDIA H100",
      dtype: "bfloat16",
      limits: { cacheRowCount: 2, slotCount: 8300 },
      warnings: [],
    },
    [],
    "text",
  ),
  reply("described", 1, {
    card: { ...CARD, conditioning: { type: "text", negativePrompt: null, maxPromptTokens: 120 } },
    device: "cpu",
    dtype: "float32",
    weights: [
      { part: "transformer", bytes: 2 ** 34 },
      { part: "image tokenizer", bytes: 287654321 },
    ],
    slotCount: 257,
    cacheBytesPerImage: 2 ** 31,
    freeBytes: null,
    warnings: [],
  }),
  reply("prompt-encoded", 2, {
    promptLength: 1,
    branches: [
      { name: "conditional", padding: 0 },
      { name: "unconditional", padding: 3 },
    ],
    warnings: ['the prompt is read without "🌅", which the model\'s vocabulary lacks'],
  }),
  reply("forward-done", 3, { warnings: ["CUDA graphs are turned off until the engine is started again"] }, [
    { name: "drawnTokens", data: Int32Array.of(511, 0, 3) },
    { name: "drawnProbabilities", data: Float32Array.of(0.25, 1, 0.1) },
    { name: "distributionLengths", data: Int32Array.of(2) },
    { name: "distributionTokens", data: Int32Array.of(5, 300) },
    { name: "distributionProbabilities", data: Float32Array.of(0.75, 0.25) },
  ]),
  reply("image-decoded", 4, {}, [
    { name: "pixels", data: Uint8Array.of(0, 128, 255, 1, 2, 3, 10, 20, 30, 40, 50, 60), shape: [2, 2, 3] },
  ]),
  // one layer, one head, 2 x 1 tokens
  reply("profile-done", 5, {}, [
    { name: "mass", data: Float32Array.of(0, 0.75), shape: [1, 1, 2, 1] },
    { name: "otherMass", data: Float32Array.of(0.25), shape: [1, 1] },
    { name: "rowStartMass", data: Float32Array.of(0.75), shape: [1, 1, 1, 1] },
    { name: "rowStartTotal", data: Float32Array.of(0.75), shape: [1, 1, 1] },
  ]),
  reply("done", 5, {}),
  reply("stats-report", 2 ** 33, {
    forwardCount: 76,
    forwardMs: 1234.5,
    sequenceCount: 2,
    residentBytes: 2 ** 33,
    deviceBytes: null,
  }),
  reply("error", 3, { error: FAILURE }),
  reply("error", 3, { error: { code: "not-ready", message: "no model is loaded" } }, [], "plain"),
  {
    name: "leaving",
    direction: "reply",
    header: { type: "leaving", epoch: EPOCH } satisfies Unasked<typeof leavingSchema>,
    arrays: [],
  },
  {
    name: "fatal",
    direction: "reply",
    header: {
      type: "fatal",
      epoch: EPOCH,
      error: { code: "internal", message: "a device assert failed" },
    } satisfies Unasked<typeof fatalSchema>,
    arrays: [],
  },
];

function request<Type extends RequestHeader["type"]>(
  type: Type,
  number: number,
  fields: FieldsOf<RequestHeader, Type>,
  arrays: readonly NamedArray[] = [],
  variant = "",
): GoldenMessage {
  const header = { type, epoch: EPOCH, request: number, ...fields };
  return { name: nameOf(type, variant), direction: "request", header, arrays };
}

function reply<Type extends ReplyHeader["type"]>(
  type: Type,
  number: number,
  fields: FieldsOf<ReplyHeader, Type>,
  arrays: readonly NamedArray[] = [],
  variant = "",
): GoldenMessage {
  const header = { type, epoch: EPOCH, request: number, ...fields };
  return { name: nameOf(type, variant), direction: "reply", header, arrays };
}

function nameOf(type: string, variant: string): string {
  return variant === "" ? type : `${type}-${variant}`;
}
