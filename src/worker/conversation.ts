import type { WorkerOptions } from "../decode/worker-source.ts";
import { asZiparError, ZiparError } from "../errors.ts";
import { harmless } from "../protocol/harmless.ts";
import { PROTOCOL_VERSION } from "../protocol/messages.ts";
import type { ReplyTo, RequestBody } from "../protocol/requests.ts";
import { onAbort } from "../system/abort-signal.ts";
import type { Hello, WorkerChannel } from "./channel.ts";
import { cancelled } from "./failures.ts";

/** Requests that a conversation can begin with. */
export type FirstRequest = "init" | "describe";

/** A worker that has answered its first request. */
export interface Conversation<First extends FirstRequest> {
  readonly channel: WorkerChannel;
  readonly reply: ReplyTo<First>;
  /** Process id; undefined where there is no process on this machine. */
  readonly pid: number | undefined;
  /** What ended the conversation; undefined while it goes on. */
  failure(): ZiparError | undefined;
  /** Ends it, and the process where there is one. Safe to call twice. */
  stop(): Promise<void>;
}

/**
 * Opens the conversation on a channel: hello, version, first request. A failure closes the channel.
 * @param hello waits for the worker that is meant
 * @throws ZiparError what `hello` throws; `protocol-version`, `cancelled`, and what the first request fails with
 */
export async function converse<First extends FirstRequest>(
  channel: WorkerChannel,
  { signal, onProgress }: Pick<WorkerOptions, "signal" | "onProgress">,
  hello: () => Promise<Hello>,
  request: RequestBody<First>,
): Promise<ReplyTo<First>> {
  const abort = () => channel.close(cancelled(signal?.reason));
  const unfollow = signal && onAbort(signal, abort);
  try {
    if (signal?.aborted) throw cancelled(signal.reason);
    await checkVersion(await hello(), channel);
    const { reply } = await channel.request(request, [], ({ phase, completed, total, unit }) =>
      onProgress?.({ phase: harmless(phase), completed, total, unit }),
    );
    return withHarmlessCard(reply);
  } catch (error) {
    const failure = signal?.aborted
      ? cancelled(signal.reason)
      : asZiparError(error, "starting a worker failed");
    channel.close(failure);
    throw failure;
  } finally {
    unfollow?.();
  }
}

/** Names on a card are those that a stranger gave to a checkpoint and its classes, sent perhaps by a stranger's worker. */
function withHarmlessCard<Reply extends ReplyTo<FirstRequest>>(reply: Reply): Reply {
  const { conditioning } = reply.card;
  const card = {
    ...reply.card,
    name: harmless(reply.card.name),
    conditioning:
      conditioning.type === "class"
        ? { ...conditioning, classNames: conditioning.classNames?.map(harmless) ?? null }
        : conditioning,
  };
  return { ...reply, card };
}

/** The hello, or an error when it takes too long. The timer does not keep Node alive. */
export async function helloWithin(
  ms: number,
  hello: Promise<Hello>,
  tooLate: () => ZiparError,
): Promise<Hello> {
  const timeout = new Promise<undefined>((resolve) => setTimeout(resolve, ms, undefined).unref());
  const first = await Promise.race([hello, timeout]);
  if (first !== undefined) return first;
  hello.catch(() => {}); // it is rejected when the channel closes
  throw tooLate();
}

/** @throws ZiparError `protocol-version`, after the worker was told too */
async function checkVersion(hello: Hello, channel: WorkerChannel): Promise<void> {
  if (hello.protocolVersion === PROTOCOL_VERSION) return;
  const message =
    `the worker (version ${hello.workerVersion}) speaks protocol version ${hello.protocolVersion}, ` +
    `this SDK speaks ${PROTOCOL_VERSION}; install matching versions`;
  await channel.refuse({ reason: "protocol-version", message });
  throw new ZiparError({ code: "protocol-version", message });
}
