import { createHash, timingSafeEqual } from "node:crypto";
import type { WorkerOptions } from "../../decode/worker-source.ts";
import { ZiparError } from "../../errors.ts";
import { type Hello, type Refusal, WorkerChannel } from "../channel.ts";
import { after, cancelled, checkVersion, internal, patienceOf } from "../start.ts";
import { type RemoteSettings, readCredentials } from "./options.ts";
import { remoteTransport } from "./transport.ts";
import { TurnedAway } from "./turned-away.ts";

/** What is kept from one wait for a worker to the next. */
export interface WaitMemory {
  /** Where the first wait listened: a free port is chosen once. */
  endpoint: string | undefined;
  /** Of hellos that were accepted: each is good once, so that nobody can say one again that he overheard. */
  readonly epochs: Set<number>;
}

/**
 * Listens until a worker has dialled in that may.
 * @throws ZiparError `invalid-options`, `worker-start`, `worker-timeout`, `protocol-version`, `cancelled`
 */
export async function awaitWorker(
  options: WorkerOptions,
  settings: RemoteSettings,
  memory: WaitMemory,
): Promise<WorkerChannel> {
  const { signal } = options;
  const { token, curve } = readCredentials(settings);
  const turnedAway = new TurnedAway(options.logger);
  const channel = await WorkerChannel.open(
    remoteTransport({
      address: { ...settings.address, endpoint: memory.endpoint ?? settings.address.endpoint },
      curve,
      heartbeatTimeoutMs: options.heartbeatTimeoutMs,
      onStranger: (dialIn) => turnedAway.addStranger(dialIn),
    }),
    patienceOf(options),
  );
  memory.endpoint = channel.endpoint;
  const abort = () => channel.close(cancelled(signal?.reason));
  signal?.addEventListener("abort", abort, { once: true });
  try {
    signal?.throwIfAborted();
    const phase = `waiting for a worker at ${channel.endpoint}`;
    options.onProgress?.({ phase, completed: 0, total: null, unit: "" });
    const hello = channel.hello((hello) => {
      const refusal = refusalOf(hello, token, memory.epochs);
      if (refusal !== undefined) turnedAway.add(refusal.message);
      return refusal;
    });
    await checkVersion(await withinWaitTime(hello, settings, channel.endpoint, turnedAway), channel);
    return channel;
  } catch (error) {
    channel.close(ZiparError.is(error) ? error : internal(error));
    throw signal?.aborted ? cancelled(signal.reason) : error;
  } finally {
    signal?.removeEventListener("abort", abort);
  }
}

function refusalOf(hello: Hello, token: string, epochs: Set<number>): Refusal | undefined {
  if (!isSame(hello.token, token)) {
    return {
      reason: "token",
      message: "the worker's token is not the one that the engine expects; give both the same",
    };
  }
  if (epochs.has(hello.epoch)) {
    return {
      reason: "replayed",
      message: `a hello with epoch ${hello.epoch} was accepted before; a worker takes a new one each time`,
    };
  }
  epochs.add(hello.epoch);
  return undefined;
}

/** Takes the same time wherever two secrets differ. */
function isSame(received: string, expected: string): boolean {
  const digest = (text: string) => createHash("sha256").update(text).digest();
  return timingSafeEqual(digest(received), digest(expected));
}

async function withinWaitTime(
  hello: Promise<Hello>,
  { waitTimeoutMs }: RemoteSettings,
  endpoint: string,
  turnedAway: TurnedAway,
): Promise<Hello> {
  const first = await Promise.race([hello, after(waitTimeoutMs)]);
  if (first !== undefined) return first;
  hello.catch(() => {}); // it is rejected when the channel closes
  throw new ZiparError({
    code: "worker-timeout",
    message:
      `no worker dialled in at ${endpoint} within ${waitTimeoutMs} ms${turnedAway}; ` +
      `start one with \`zipar worker --connect ${endpoint} --keys DIR\``,
  });
}
