import { randomBytes } from "node:crypto";
import { tmpdir } from "node:os";
import { ZiparError } from "../errors.ts";
import type { Logger } from "../logger.ts";
import { type Described, PROTOCOL_VERSION, type Ready } from "../protocol/messages.ts";
import { type Hello, type Progress, type Refusal, WorkerChannel } from "./channel.ts";
import type { InitRequest, LoadRequest } from "./load-request.ts";
import { WorkerProcess } from "./process.ts";
import { type Connection, expectReply } from "./socket-worker.ts";
import { privateTransport } from "./transport.ts";
import type { Patience } from "./watchdog.ts";

const SHUTDOWN_GRACE_MS = 2_000;
const HANG_FLOOR_MS = 30_000;

export interface StartOptions {
  readonly python: string;
  readonly workerDirectory: string;
  /** Extra arguments of the worker, e.g. `["--stub", "{}"]`. */
  readonly arguments: readonly string[];
  /** How long the process may take to say hello; loading is not part of it. */
  readonly startTimeoutMs: number;
  /** How long the worker's threads may be silent; 0 waits for ever. */
  readonly heartbeatTimeoutMs: number;
  /** How long it may come no further with a request of a kind that it has answered before. Default: derived. */
  readonly hangTimeoutMs: number | undefined;
  /** The same for its load, and the first request of each kind. */
  readonly firstHangTimeoutMs: number;
  readonly logger: Logger;
  readonly onProgress: (progress: Progress) => void;
  readonly signal: AbortSignal | undefined;
}

/** Tells the messages of one worker of this process from those of all others. */
let lastEpoch = 0;

/**
 * Starts a worker process, shakes hands and loads the checkpoint.
 * @throws ZiparError `worker-start`, `worker-died`, `protocol-version`, `checkpoint`, `device`, `out-of-memory`, `cancelled`
 */
export async function startWorker(
  options: StartOptions & { readonly init: InitRequest },
): Promise<Connection> {
  const { reply: ready, ...worker } = await launch(options, (channel) =>
    init(channel, options.init, options.onProgress),
  );
  return { ...worker, ready };
}

/**
 * Starts a worker process, lets it read what a checkpoint is, and ends it.
 * @throws ZiparError as `startWorker`
 */
export async function describeModel(options: StartOptions, request: LoadRequest): Promise<Described> {
  const { reply, stop } = await launch(options, (channel) => describe(channel, request, options.onProgress));
  await stop();
  return reply;
}

/** Starts a worker process, shakes hands and waits for the answer to its first request. */
async function launch<FirstReply>(
  options: StartOptions,
  request: (channel: WorkerChannel) => Promise<FirstReply>,
): Promise<Omit<Connection, "ready"> & { readonly reply: FirstReply }> {
  const epoch = ++lastEpoch;
  const token = randomBytes(32).toString("hex");
  const spawn = (endpoint: string) => new WorkerProcess({ ...options, endpoint, token, epoch });
  const transport = privateTransport(options.heartbeatTimeoutMs);
  // The process comes before the socket's directory: whenever we are killed, it is there to remove that.
  const early = transport.endpoint === undefined ? undefined : spawn(transport.endpoint);
  const channel = await WorkerChannel.open(transport, patienceOf(options)).catch(async (error: unknown) => {
    await early?.kill();
    throw cannotListen(error);
  });
  const process = early ?? spawn(channel.endpoint);
  const death = process.ended.then((reason) => {
    channel.close(workerDied(reason, process));
  });
  channel.closed.then(() => process.kill()); // whatever is left of a worker that was given up

  const stop = async (): Promise<void> => {
    process.ref();
    const shutdown = channel.request({ type: "shutdown" }).then(() => death); // it exits by itself
    await Promise.race([shutdown.catch(() => {}), after(SHUTDOWN_GRACE_MS)]);
    channel.close(engineClosed());
    await process.ended;
  };
  const failure = (): ZiparError | undefined => withOutput(channel.failure, process);

  const abort = () => channel.close(cancelled(options.signal?.reason));
  options.signal?.addEventListener("abort", abort, { once: true });
  try {
    options.signal?.throwIfAborted();
    const hello = channel.hello((hello) => refusalOf(hello, token, epoch));
    await checkVersion(await withinStartTime(hello, options.startTimeoutMs, process), channel);
    const reply = await request(channel);
    return { channel, reply, pid: process.pid, failure, stop };
  } catch (error) {
    channel.close(ZiparError.is(error) ? error : internal(error));
    await process.ended;
    if (options.signal?.aborted) throw cancelled(options.signal.reason);
    throw failure() ?? error;
  } finally {
    options.signal?.removeEventListener("abort", abort);
  }
}

/** How long the worker may come no further. */
export function patienceOf({
  hangTimeoutMs,
  firstHangTimeoutMs,
}: {
  readonly hangTimeoutMs?: number | undefined;
  readonly firstHangTimeoutMs: number;
}): Patience {
  return { fixedMs: hangTimeoutMs, floorMs: HANG_FLOOR_MS, firstMs: firstHangTimeoutMs };
}

/** Lets a worker load a checkpoint. */
export async function init(
  channel: WorkerChannel,
  request: InitRequest,
  onProgress: (progress: Progress) => void,
): Promise<Ready> {
  const header = { type: "init", protocolVersion: PROTOCOL_VERSION, ...request };
  return expectReply((await channel.request(header, [], onProgress)).reply, "ready");
}

/** Lets a worker read what a checkpoint is. */
export async function describe(
  channel: WorkerChannel,
  request: LoadRequest,
  onProgress: (progress: Progress) => void,
): Promise<Described> {
  const header = { type: "describe", ...request };
  return expectReply((await channel.request(header, [], onProgress)).reply, "described");
}

/** Anybody but the worker that was started is a stranger. */
function refusalOf(hello: Hello, token: string, epoch: number): Refusal | undefined {
  if (hello.token === token && hello.epoch === epoch) return undefined;
  return { reason: "token", message: "this engine has started another worker" };
}

/** @throws ZiparError `protocol-version`, after the worker was told too */
export async function checkVersion(hello: Hello, channel: WorkerChannel): Promise<void> {
  if (hello.protocolVersion === PROTOCOL_VERSION) return;
  const message =
    `the worker (version ${hello.workerVersion}) speaks protocol version ${hello.protocolVersion}, ` +
    `this SDK speaks ${PROTOCOL_VERSION}; install matching versions`;
  await channel.dismiss({ reason: "protocol-version", message });
  throw new ZiparError({ code: "protocol-version", message });
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

/** The error with what the worker printed last, whoever noticed its end. */
function withOutput(error: ZiparError | undefined, process: WorkerProcess): ZiparError | undefined {
  if (error === undefined || "output" in error.details) return error;
  const { code, message, details, cause } = error;
  return new ZiparError({ code, message, details: { ...details, output: process.output.toString() }, cause });
}

/** The end of what a worker printed, for an error message. */
function tailOf(process: WorkerProcess): string {
  const lines = process.output.toString().split("\n").slice(-12).join("\n");
  return lines === "" ? "" : `; its last output was:\n${lines}`;
}

function cannotListen(cause: unknown): ZiparError {
  const reason = cause instanceof Error ? cause.message : String(cause);
  return new ZiparError({
    code: "worker-start",
    message:
      `cannot make a socket for the worker in ${tmpdir()} (${reason}); ` +
      "give a directory that can be written and has a short path (TMPDIR)",
    cause,
  });
}

export function internal(cause: unknown): ZiparError {
  return new ZiparError({ code: "internal", message: `starting a worker failed: ${String(cause)}`, cause });
}

export function engineClosed(): ZiparError {
  return new ZiparError({ code: "engine-closed", message: "the engine was closed" });
}

export function cancelled(cause: unknown): ZiparError {
  return new ZiparError({ code: "cancelled", message: "starting the engine was cancelled", cause });
}

/** Resolves to undefined after a while, without keeping Node alive. */
export function after(ms: number): Promise<undefined> {
  return new Promise((resolve) => setTimeout(resolve, ms, undefined).unref());
}
