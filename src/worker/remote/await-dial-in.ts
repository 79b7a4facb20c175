import { createHash, timingSafeEqual } from "node:crypto";
import type { WorkerOptions } from "../../decode/worker-source.ts";
import { ZiparError } from "../../errors.ts";
import type { RequestBody } from "../../protocol/requests.ts";
import { type Hello, type Refusal, WorkerChannel } from "../channel.ts";
import { type Conversation, converse, type FirstRequest, helloWithin } from "../conversation.ts";
import { engineClosed } from "../failures.ts";
import type { BoundSocket } from "../transport.ts";
import { RemoteListener } from "./listener.ts";
import { type Credentials, type RemoteSettings, readCredentials } from "./options.ts";
import { TurnedAway } from "./turned-away.ts";

/** What all waits of a source for a worker share. */
export interface WaitMemory {
  /** Where the first wait listened: a free port is chosen once. */
  endpoint: string | undefined;
  /** While a worker is there or awaited. */
  listener: Promise<RemoteListener> | undefined;
  /** Epochs of the hellos that were accepted. Each is good once, so that an overheard hello cannot be sent again. */
  readonly epochs: Set<number>;
}

/**
 * Listens until a worker with the right key and token dials in, and opens the conversation with it.
 * @throws ZiparError `invalid-options`, `worker-start`, `worker-timeout`, `protocol-version`, `cancelled`, and what the
 *   first request fails with
 */
export async function awaitDialIn<First extends FirstRequest>(
  settings: RemoteSettings,
  memory: WaitMemory,
  options: WorkerOptions,
  request: RequestBody<First>,
): Promise<Conversation<First>> {
  const { token, curve } = readCredentials(settings);
  const turnedAway = new TurnedAway(options.logger);
  const bind = async (): Promise<BoundSocket> => {
    memory.listener ??= openListener(settings, memory, curve, options.heartbeatTimeoutMs);
    const listener = await memory.listener;
    if (listener.isClosed) return bind(); // the worker before has just left
    return listener.seat({ curve, onStranger: (dialIn) => turnedAway.addStranger(dialIn) });
  };
  const channel = await WorkerChannel.open({ bind }, options);
  const { endpoint } = channel;
  const hello = async () => {
    const phase = `waiting for a worker at ${endpoint}`;
    options.onProgress?.({ phase, completed: 0, total: null, unit: "" });
    const accepted = channel.awaitHello((hello) => {
      const refusal = refusalOf(hello, token, memory.epochs);
      if (refusal === undefined) memory.epochs.add(hello.epoch);
      else turnedAway.add(refusal.message);
      return refusal;
    });
    return helloWithin(settings.waitTimeoutMs, accepted, () => nobodyCame(settings, endpoint, turnedAway));
  };
  return {
    channel,
    reply: await converse(channel, options, hello, request),
    pid: undefined, // it means nothing on this machine
    failure: () => channel.failure,
    stop: async () => channel.close(engineClosed()),
  };
}

async function openListener(
  { address }: RemoteSettings,
  memory: WaitMemory,
  curve: Credentials["curve"],
  heartbeatTimeoutMs: number,
): Promise<RemoteListener> {
  const close = () => {
    memory.listener = undefined;
  };
  try {
    const endpoint = memory.endpoint ?? address.endpoint;
    const listener = await RemoteListener.open({ ...address, endpoint }, curve, heartbeatTimeoutMs, close);
    memory.endpoint = listener.endpoint;
    return listener;
  } catch (error) {
    close();
    throw error;
  }
}

function refusalOf(hello: Hello, token: string, epochs: ReadonlySet<number>): Refusal | undefined {
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
  return undefined;
}

/** Takes the same time wherever two secrets differ, so that the time tells nothing about them. */
function isSame(received: string, expected: string): boolean {
  const digest = (text: string) => createHash("sha256").update(text).digest();
  return timingSafeEqual(digest(received), digest(expected));
}

function nobodyCame({ waitTimeoutMs }: RemoteSettings, endpoint: string, turnedAway: TurnedAway): ZiparError {
  return new ZiparError({
    code: "worker-timeout",
    message:
      `no worker dialled in at ${endpoint} within ${waitTimeoutMs} ms${turnedAway}; ` +
      `start one with \`zipar worker --connect ${endpoint} --keys DIR\``,
    details: { nobodyCame: true },
  });
}
