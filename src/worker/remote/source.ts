import type { ModelDescription, WorkerOptions, WorkerSource } from "../../decode/worker-source.ts";
import { ZiparError } from "../../errors.ts";
import type { WorkerChannel } from "../channel.ts";
import { initRequest, loadRequest } from "../load-request.ts";
import { resolveRemoteReference } from "../model-reference.ts";
import { SocketWorker } from "../socket-worker.ts";
import { cancelled, describe, engineClosed, init, internal } from "../start.ts";
import { awaitWorker, type WaitMemory } from "./await-dial.ts";
import { type RemoteSettings, type RemoteWorkerOptions, resolveRemote } from "./options.ts";

/**
 * A PyTorch worker that dials in from elsewhere: `zipar worker --connect ...`. Opening waits for it. When the link is
 * lost, the worker keeps its model and dials in again; opening again waits for that.
 * @throws ZiparError `invalid-options`
 */
export function remoteWorker(options: RemoteWorkerOptions): WorkerSource {
  const settings = resolveRemote(options);
  const memory: WaitMemory = { endpoint: undefined, epochs: new Set() };
  return {
    open: (engine) => open(engine, settings, memory),
    describe: (engine) => describeModel(engine, settings, memory),
  };
}

async function open(
  options: WorkerOptions,
  settings: RemoteSettings,
  memory: WaitMemory,
): Promise<SocketWorker> {
  const { channel, reply } = await converse(options, settings, memory, (channel) =>
    init(channel, initRequest(options, requestOf(options)), progressOf(options)),
  );
  return new SocketWorker({
    channel,
    ready: reply,
    pid: undefined, // it means nothing on this machine
    failure: () => channel.failure,
    stop: async () => channel.close(engineClosed()),
  });
}

async function describeModel(
  options: WorkerOptions,
  settings: RemoteSettings,
  memory: WaitMemory,
): Promise<ModelDescription> {
  const { channel, reply } = await converse(options, settings, memory, (channel) =>
    describe(channel, requestOf(options), progressOf(options)),
  );
  channel.close(engineClosed());
  const { card, device, dtype, weights, slotCount, cacheBytesPerImage, freeBytes } = reply;
  return { card, device, dtype, weights, slotCount, cacheBytesPerImage, freeBytes };
}

/** Waits for a worker and for the answer to its first request. */
async function converse<FirstReply>(
  options: WorkerOptions,
  settings: RemoteSettings,
  memory: WaitMemory,
  request: (channel: WorkerChannel) => Promise<FirstReply>,
): Promise<{ readonly channel: WorkerChannel; readonly reply: FirstReply }> {
  const { signal } = options;
  const channel = await awaitWorker(options, settings, memory);
  const abort = () => channel.close(cancelled(signal?.reason));
  signal?.addEventListener("abort", abort, { once: true });
  try {
    signal?.throwIfAborted();
    return { channel, reply: await request(channel) };
  } catch (error) {
    channel.close(ZiparError.is(error) ? error : internal(error));
    throw signal?.aborted ? cancelled(signal.reason) : error;
  } finally {
    signal?.removeEventListener("abort", abort);
  }
}

/** References are about the worker's machine, where only the worker can look them up. */
function requestOf(options: WorkerOptions) {
  return loadRequest(options, resolveRemoteReference(options.model), resolveRemoteReference);
}

function progressOf({ onProgress }: WorkerOptions) {
  return ({ phase, completed, total, unit }: Parameters<NonNullable<typeof onProgress>>[0]) =>
    onProgress?.({ phase, completed, total, unit });
}
