import { ZiparError } from "../errors.ts";
import { malformed, type WireArrays } from "../protocol/codec.ts";
import type { Reply } from "../protocol/messages.ts";
import { REPLY_TYPE, type ReplyTo, type RequestType } from "../protocol/requests.ts";
import { failureOf } from "./failures.ts";

export type Progress = Extract<Reply, { type: "progress" }>;

/** What a request resolves to. */
export interface Answer<Type extends RequestType> {
  readonly reply: ReplyTo<Type>;
  readonly arrays: WireArrays;
}

/** A reply that belongs to one request. */
type ReplyToOne = Exclude<Reply, { type: "hello" | "pulse" | "fatal" | "leaving" }>;

interface PendingRequest {
  readonly type: RequestType;
  readonly onProgress: ((progress: Progress) => void) | undefined;
  /** Its stack shows who made the request. */
  readonly origin: Error;
  /** Takes a reply of the type that answers the request. */
  resolve(reply: Reply, arrays: WireArrays): void;
  reject(error: ZiparError): void;
}

/** Requests that wait for their replies, by number. The worker works on the oldest. */
export class PendingRequests {
  readonly #requests = new Map<number, PendingRequest>();

  get count(): number {
    return this.#requests.size;
  }

  /** The type of the oldest request. */
  get oldest(): RequestType | undefined {
    const [oldest] = this.#requests.values();
    return oldest?.type;
  }

  add<Type extends RequestType>(
    number: number,
    type: Type,
    onProgress: ((progress: Progress) => void) | undefined,
  ): Promise<Answer<Type>> {
    const origin = new Error();
    return new Promise((resolve, reject) => {
      this.#requests.set(number, {
        type,
        onProgress,
        origin,
        resolve: (reply, arrays) => resolve({ reply: reply as ReplyTo<Type>, arrays }),
        reject,
      });
    });
  }

  /** @throws ZiparError `protocol` when nobody waits for this reply */
  receive(reply: ReplyToOne, arrays: WireArrays): void {
    const pending = this.#requests.get(reply.request);
    if (pending === undefined)
      throw malformed(`a "${reply.type}" to request ${reply.request}, which nobody waits for`);
    const { type, origin, onProgress, resolve, reject } = pending;
    if (reply.type === "progress") {
      onProgress?.(reply);
      return;
    }
    if (reply.type === "error") {
      this.#requests.delete(reply.request);
      reject(raisedAt(origin, failureOf(reply.error, `the worker refused "${type}"`)));
      return;
    }
    if (reply.type !== REPLY_TYPE[type])
      throw malformed(`"${reply.type}" where "${REPLY_TYPE[type]}" was expected`);
    this.#requests.delete(reply.request);
    resolve(reply, arrays);
  }

  /** Rejects all with errors of their own, whose cause is what ended the channel. */
  failAll(failure: ZiparError): void {
    const { code, message, details } = failure;
    const failed = [...this.#requests.values()];
    this.#requests.clear();
    for (const { origin, reject } of failed)
      reject(raisedAt(origin, new ZiparError({ code, message, details, cause: failure })));
  }
}

/** Gives an error the stack of the request: its own shows only that a message was read. */
function raisedAt(origin: Error, error: ZiparError): ZiparError {
  const { stack = "" } = origin;
  error.stack = `${error}${stack.slice(stack.indexOf("\n"))}`;
  return error;
}
