import { z } from "zod";
import type { StartProgress, WorkerSource } from "../decode/worker-source.ts";
import { type Logger, silentLogger } from "../logger.ts";
import { LIMITS } from "../protocol/messages.ts";
import { isAbortSignal } from "../system/abort-signal.ts";
import type { RemoteWorkerOptions } from "../worker/remote/options.ts";
import { deviceSchema, MAX_SPLIT, placeSchema } from "./device-name.ts";
import { pixelSizeSchema } from "./generate-options.ts";

const MAX_THREADS = 1024;
const THREADS_EXPECTED = `expected "auto" or a whole number from 1 to ${MAX_THREADS}`;

/** The options of `createEngine`. Apart from what resolves them, which loads native modules: the command line needs none. */
export const engineSchema = z.strictObject({
  /** `"demo"`, a checkpoint directory, a weights file, or a hub id: `owner/name`, `owner/name/file`, `owner/name@revision`. */
  model: z.string().min(1).default("demo"),
  /** The image tokenizer, when it does not lie beside the weights: a file, a directory or a hub id. */
  vq: z.string().min(1).optional(),
  /** The text encoder or text tokenizer, when it does not lie beside the weights: a directory or a hub id. */
  textEncoder: z.string().min(1).optional(),
  /** Which set of weights is meant where a file holds several, e.g. `"ema"`. Default: as the official code chooses. */
  weightsKey: z.string().min(1).max(LIMITS.weightsKeyCharacters).optional(),
  /** Image size in pixels, for checkpoints that do not say. */
  size: pixelSizeSchema.optional(),
  /**
   * `"auto"`: the GPU with the most free memory of those that the installed PyTorch can use, else the CPU.
   * `"cuda:0+cuda:1"` is one model over both.
   */
  device: deviceSchema.default("auto"),
  /**
   * One model over so many devices, each with its share of the weights and of the K/V cache: the first GPUs that the installed
   * PyTorch can use, so many for each worker; with `"cpu"`, or where there is no GPU, processes on the CPU.
   */
  tensorParallel: z.int().min(1).max(MAX_SPLIT).optional(),
  /** Workers on this device, each with a whole model. */
  workers: z.int().min(1).max(64).optional(),
  /**
   * One worker on each, in the place of `device`: `["cuda:0", "cuda:1"]`, or `"all"` CUDA devices. A worker may have several:
   * `[["cuda:0", "cuda:1"], ["cuda:2", "cuda:3"]]` are two workers, each with a model that is split over two.
   */
  devices: z
    .union(
      [z.literal("all"), z.array(placeSchema).min(1).max(64)],
      'expected devices such as ["cuda:0", "cuda:1"] or [["cuda:0", "cuda:1"]], or "all"',
    )
    .optional(),
  dtype: z.enum(["auto", "float32", "bfloat16", "float16"]).default("auto"),
  /**
   * `"int8"` rounds the matrices of the decoder's layers to 8 bits as they are loaded, a scale for each row: the pictures
   * are others, a little, and the model takes a half of bfloat16's memory, a quarter of float32's. Embeddings, norms, head
   * and image tokenizer stay.
   */
  weights: z.enum(["full", "int8"]).default("full"),
  /**
   * `"int8"` keeps keys and values with 8 bits a number, a scale for each head of each slot: an image takes about half of
   * bfloat16's K/V memory, or 27 % of float32's, so that more are decoded together; forwards take a little longer, and the
   * pictures are others, a little.
   */
  kvCache: z.enum(["full", "int8"]).default("full"),
  /**
   * Forwards of few queries as CUDA graphs: one launch in the place of hundreds, where the model runs on a GPU. Nothing has
   * run one yet, so each graph is compared with the forward without it when it is first used; where they differ, or memory
   * runs short, the `logger` warns and forwards run without.
   */
  cudaGraphs: z.boolean().default(false),
  /**
   * Threads that each worker on this machine computes with on the CPU. `"auto"`: all workers together one for each core that
   * they may use, and no more than their container's quota keeps busy, unless OMP_NUM_THREADS says otherwise.
   */
  threads: z
    .union(
      [
        z.literal("auto"),
        z.int(THREADS_EXPECTED).min(1, THREADS_EXPECTED).max(MAX_THREADS, THREADS_EXPECTED),
      ],
      THREADS_EXPECTED,
    )
    .default("auto"),
  /** Images decoded together; more wait. Default: 8, or fewer where their K/V cache would not fit. */
  maxImages: z.int().min(1).max(256).optional(),
  /** Images that may wait. */
  maxQueue: z.int().min(0).default(1024),
  /** How long the worker process may take to say its first word; loading is not part of it. */
  startTimeoutMs: z.int().min(1).default(60_000),
  /**
   * How long a worker process may give no sign of life before it counts as lost. Its threads answer while it loads and
   * computes, so that only one that was stopped is silent. 0: for ever, to look at a stopped worker with a debugger.
   */
  heartbeatTimeoutMs: z.int().min(0).max(600_000).default(500),
  /**
   * How long the worker may come no further with a forward, a prompt or a picture before it counts as hung. Default: 20
   * times as long as it took at most before, and half a minute at least.
   */
  hangTimeoutMs: z.int().min(1).optional(),
  /** The same for its load, and for the first of each kind of work, when a GPU's kernels are made. */
  firstHangTimeoutMs: z.int().min(1).default(600_000),
  /**
   * Lost workers are replaced, and images go on where they were: at most `max` times within any `withinMs`. The second
   * restart within that time waits `backoffMs`, and each further one twice as long as the one before. 0: never.
   */
  restarts: z
    .strictObject({
      max: z.int().min(0).default(5),
      withinMs: z.int().min(1).default(600_000),
      backoffMs: z.int().min(0).default(200),
    })
    .prefault({}),
  /** Who executes: by default a worker process on this machine. `{ listen, ... }` is short for `remoteWorker(...)`. */
  worker: z
    .custom<WorkerSource | RemoteWorkerOptions>(
      (value) =>
        typeof (value as WorkerSource | null)?.open === "function" ||
        typeof (value as RemoteWorkerOptions | null)?.listen === "string",
      'expected a worker source such as stubWorker(), or { listen: "tcp://ADDRESS:PORT", keys: ... }',
    )
    .optional(),
  logger: z
    .custom<Logger>(isLogger, "expected an object with the functions `debug`, `info` and `warn`")
    .default(silentLogger),
  onProgress: z
    .custom<(progress: StartProgress) => void>((value) => typeof value === "function", "expected a function")
    .optional(),
  /** Cancels the start. */
  signal: z.custom<AbortSignal>(isAbortSignal, "expected an AbortSignal").optional(),
});

function isLogger(value: unknown): boolean {
  const logger = value as Partial<Logger> | null | undefined;
  return [logger?.debug, logger?.info, logger?.warn].every((method) => typeof method === "function");
}
