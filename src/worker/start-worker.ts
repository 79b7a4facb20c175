import { randomBytes } from "node:crypto";
import { ZiparError } from "../errors.ts";
import type { Logger } from "../logger.ts";
import { type Described, PROTOCOL_VERSION, type Ready, type Source } from "../protocol/messages.ts";
import { type Hello, type Progress, WorkerChannel } from "./channel.ts";
import { expectReply } from "./forwarder.ts";
import { WorkerProcess } from "./process.ts";

const SHUTDOWN_GRACE_MS = 2_000;

export interface WorkerOptions {
  readonly python: string;
  readonly workerDirectory: string;
  /** Extra arguments of the worker, e.g. `["--stub", "{}"]`. */
  readonly arguments: readonly string[];
  /** How long the process may take to say hello; loading is not part of it. */
  readonly startTimeoutMs: number;
  readonly logger: Logger;
  readonly onProgress: (progress: Progress) => void;
  readonly signal: AbortSignal | undefined;
}

/** The body of `describe`. Paths are absolute. */
export interface LoadRequest {
  readonly model: {
    readonly weights: Source;
    readonly vq: Source | null;
    readonly textEncoder: Source | null;
    readonly size: { readonly width: number; readonly height: number } | null;
  };
  readonly device: string;
  readonly dtype: "auto" | "float32" | "bfloat16" | "float16";
}

/** The body of `init`. */
export interface InitRequest extends LoadRequest {
  /** Images that the K/V cache shall hold, and whether fewer will do. */
  readonly imageCount: number;
  readonly fewerImages: boolean;
}

/** A worker that has loaded its checkpoint. */
export interface Worker {
  readonly channel: WorkerChannel;
  readonly ready: Ready;
  readonly pid: number | undefined;
  /** Ends the process and everything that waits for it. Safe to call twice. */
  stop(): Promise<void>;
}

/**
 * Starts a worker process, shakes hands and loads the checkpoint.
 * @throws ZiparError `worker-start`, `worker-died`, `protocol-version`, `checkpoint`, `device`, `out-of-memory`, `cancelled`
 */
export async function startWorker(options: WorkerOptions & { readonly init: InitRequest }): Promise<Worker> {
  const { reply: ready, ...worker } = await launch(options, (channel) => init(channel, options));
  return { ...worker, ready };
}

/**
 * Starts a worker process, lets it read what a checkpoint is, and ends it.
 * @throws ZiparError as `startWorker`
 */
export async function describeModel(options: WorkerOptions, request: LoadRequest): Promise<Described> {
  const { reply, stop } = await launch(options, async (channel) => {
    const { reply } = await channel.request({ type: "describe", ...request }, [], options.onProgress);
    return expectReply(reply, "described");
  });
  await stop();
  return reply;
}

/** Starts a worker process, shakes hands and waits for the answer to its first request. */
async function launch<FirstReply>(
  options: WorkerOptions,
  request: (channel: WorkerChannel) => Promise<FirstReply>,
): Promise<Omit<Worker, "ready"> & { readonly reply: FirstReply }> {
  const epoch = 1;
  const token = randomBytes(32).toString("hex");
  const channel = await WorkerChannel.open(epoch);
  const process = new WorkerProcess({ ...options, endpoint: channel.endpoint, token, epoch });
  const death = process.ended.then((reason) => {
    channel.close(workerDied(reason, process));
  });

  const stop = async (error: unknown = engineClosed()): Promise<void> => {
    const shutdown = channel.request({ type: "shutdown" }).catch(() => {});
    await Promise.race([shutdown, death, after(SHUTDOWN_GRACE_MS)]);
    channel.close(error);
    await process.end(SHUTDOWN_GRACE_MS);
  };

  const abort = () => channel.close(cancelled(options.signal?.reason));
  options.signal?.addEventListener("abort", abort, { once: true });
  try {
    options.signal?.throwIfAborted();
    checkVersion(await withinStartTime(channel.hello(token), options.startTimeoutMs, process));
    const reply = await request(channel);
    return { channel, reply, pid: process.pid, stop };
  } catch (error) {
    channel.close(error);
    await process.end(0);
    throw options.signal?.aborted ? cancelled(options.signal.reason) : error;
  } finally {
    options.signal?.removeEventListener("abort", abort);
  }
}

async function init(
  channel: WorkerChannel,
  { init: request, onProgress }: WorkerOptions & { readonly init: InitRequest },
): Promise<Ready> {
  const { reply } = await channel.request(
    { type: "init", protocolVersion: PROTOCOL_VERSION, ...request },
    [],
    onProgress,
  );
  return expectReply(reply, "ready");
}

function checkVersion(hello: Hello): void {
  if (hello.protocolVersion === PROTOCOL_VERSION) return;
  throw new ZiparError({
    code: "protocol-version",
    message:
      `the worker (version ${hello.workerVersion}) speaks protocol version ${hello.protocolVersion}, ` +
      `this SDK speaks ${PROTOCOL_VERSION}; install matching versions`,
  });
}

async function withinStartTime(
  hello: Promise<Hello>,
  startTimeoutMs: number,
  process: WorkerProcess,
): Promise<Hello> {
  const timeout = after(startTimeoutMs);
  const first = await Promise.race([hello, timeout]);
  if (first !== undefined) return first;
  hello.catch(() => {}); // it is rejected when the channel closes
  throw new ZiparError({
    code: "worker-timeout",
    message: `the worker said nothing for ${startTimeoutMs} ms after it was started${tailOf(process)}`,
  });
}

function workerDied(reason: string, process: WorkerProcess): ZiparError {
  return new ZiparError({
    code: reason.includes("could not be started") ? "worker-start" : "worker-died",
    message: `the worker is gone: ${reason}${tailOf(process)}`,
    details: { output: process.output.toString() },
  });
}

/** The end of what a worker printed, for an error message. */
function tailOf(process: WorkerProcess): string {
  const lines = process.output.toString().split("\n").slice(-12).join("\n");
  return lines === "" ? "" : `; its last output was:\n${lines}`;
}

function engineClosed(): ZiparError {
  return new ZiparError({ code: "engine-closed", message: "the engine was closed" });
}

function cancelled(cause: unknown): ZiparError {
  return new ZiparError({ code: "cancelled", message: "starting the engine was cancelled", cause });
}

/** Resolves to undefined after a while, without keeping Node alive. */
function after(ms: number): Promise<undefined> {
  return new Promise((resolve) => setTimeout(resolve, ms, undefined).unref());
}
