import type * as zmq from "zeromq";
import { ZiparError, type ZiparErrorCode } from "../errors.ts";
import {
  decodeReply,
  encodeMessage,
  malformed,
  type NamedArray,
  type WireArrays,
} from "../protocol/codec.ts";
import type { Refuse, Reply, WorkerFailure } from "../protocol/messages.ts";
import type { BoundSocket, Transport } from "./transport.ts";
import { type Patience, Vigil } from "./watchdog.ts";

/** A reply that a request can end with. */
export type FinalReply = Exclude<Reply, { type: "hello" | "progress" | "pulse" | "error" | "fatal" }>;
export type Hello = Extract<Reply, { type: "hello" }>;
export type Progress = Extract<Reply, { type: "progress" }>;
/** Why a worker is turned away. */
export type Refusal = Pick<Refuse, "reason" | "message">;

const DISMISSAL_LINGER_MS = 200;

/** How long a broken link waits for its cause, the exit of the process, to become known. */
const CAUSE_GRACE_MS = 50;
/** A worker ignores what belongs to another epoch; the SDK's begin at 1. */
const IGNORED_EPOCH = 0;

interface PendingRequest {
  readonly what: string;
  readonly onProgress: ((progress: Progress) => void) | undefined;
  resolve(answer: { reply: FinalReply; arrays: WireArrays }): void;
  reject(error: unknown): void;
}

/**
 * The socket that one worker dials into: a ROUTER, request and reply matched by number.
 *
 * It reads only while an answer is due, because a pending `receive()` keeps Node alive: an idle engine must let the
 * process end.
 */
export class WorkerChannel {
  readonly endpoint: string;
  /** Resolves when the channel has been closed, with the reason. Never rejects. */
  readonly closed: Promise<ZiparError>;
  readonly #vigil: Vigil;
  readonly #bound: BoundSocket;
  readonly #socket: zmq.Router;
  readonly #pending = new Map<number, PendingRequest>();
  #awaitedHello:
    | { resolve(dialIn: { identity: Buffer; hello: Hello }): void; reject(error: unknown): void }
    | undefined;
  #identity: Buffer | undefined;
  #epoch = 0;
  #nextRequest = 1;
  #isReading = false;
  #writes: Promise<unknown> = Promise.resolve();
  #failure: ZiparError | undefined;
  #tellClosed: (reason: ZiparError) => void = () => {};

  private constructor(bound: BoundSocket, patience: Patience) {
    this.closed = new Promise((resolve) => {
      this.#tellClosed = resolve;
    });
    this.#vigil = new Vigil(patience, {
      onSilence: () => this.#probe(),
      onHang: (what, ms) => this.close(hung(what, ms)),
    });
    this.#bound = bound;
    this.#socket = bound.socket;
    this.endpoint = bound.endpoint;
  }

  static async open(transport: Transport, patience: Patience): Promise<WorkerChannel> {
    return new WorkerChannel(await transport.bind(), patience);
  }

  /** The first message of the worker that is not refused; its epoch is that of the channel from now on. */
  async hello(refusalOf: (hello: Hello) => Refusal | undefined): Promise<Hello> {
    for (;;) {
      const { identity, hello } = await new Promise<{ identity: Buffer; hello: Hello }>((resolve, reject) => {
        if (this.#failure !== undefined) return reject(this.#failure);
        this.#awaitedHello = { resolve, reject };
        this.#read();
      });
      const refusal = refusalOf(hello);
      if (refusal === undefined) {
        this.#identity = identity;
        this.#epoch = hello.epoch;
        this.#bound.seal(); // the link stands; nothing is left behind however we end
        return hello;
      }
      this.#refuse(identity, hello.epoch, refusal);
    }
  }

  /**
   * Sends a request and waits for its reply.
   * @throws ZiparError with the worker's own code, or what ended the worker
   */
  request(
    header: { readonly type: string } & Record<string, unknown>,
    arrays: readonly NamedArray[] = [],
    onProgress?: (progress: Progress) => void,
  ): Promise<{ reply: FinalReply; arrays: WireArrays }> {
    const request = this.#nextRequest++;
    return new Promise((resolve, reject) => {
      if (this.#failure !== undefined) return reject(this.#failure);
      if (this.#pending.size === 0) this.#vigil.await(header.type);
      this.#pending.set(request, { what: header.type, onProgress, resolve, reject });
      this.#send(encodeMessage({ ...header, epoch: this.#epoch, request }, arrays));
      this.#read();
    });
  }

  /** What ended the channel. */
  get failure(): ZiparError | undefined {
    return this.#failure;
  }

  /** Ends the channel: everything that waits is rejected with this error. */
  close(error: ZiparError): void {
    if (this.#failure !== undefined) return;
    this.#failure = error;
    this.#vigil.end();
    this.#awaitedHello?.reject(error);
    for (const { reject } of this.#pending.values()) reject(error);
    this.#pending.clear();
    this.#bound.seal();
    this.#socket.close();
    this.#tellClosed(error);
  }

  /** Tells the worker why it cannot serve; the channel is to be closed then. */
  async dismiss(refusal: Refusal): Promise<void> {
    if (this.#identity !== undefined) this.#refuse(this.#identity, this.#epoch, refusal);
    await this.#writes;
    this.#socket.linger = DISMISSAL_LINGER_MS; // or closing would drop what was queued
  }

  /** Nothing was heard for a while: a message that the worker ignores cannot be sent once libzmq has dropped the link. */
  #probe(): void {
    if (this.#identity === undefined) return;
    const [header] = encodeMessage({ type: "stats", epoch: IGNORED_EPOCH, request: 0 }, []);
    this.#send([header as Uint8Array]);
  }

  /** The link is broken; the exit of the process, which says why, is usually known a moment later. */
  #breakOff(cause: unknown): void {
    if (this.#failure !== undefined) return;
    setTimeout(() => this.close(unreachable(cause)), CAUSE_GRACE_MS);
  }

  #send(parts: Uint8Array[]): void {
    this.#write(this.#identity, parts, (cause) => this.#breakOff(cause));
  }

  #refuse(identity: Buffer, epoch: number, refusal: Refusal): void {
    const parts = encodeMessage({ type: "refuse", epoch, request: 0, ...refusal }, []);
    this.#write(identity, parts, () => {}); // whoever is turned away may be gone already
  }

  /** One writer at a time: a second concurrent send would throw EBUSY. */
  #write(identity: Buffer | undefined, parts: Uint8Array[], onFailure: (cause: unknown) => void): void {
    this.#writes = this.#writes
      .then(() => this.#socket.send([identity ?? "", ...(parts as Buffer[])]))
      .catch(onFailure);
  }

  async #read(): Promise<void> {
    if (this.#isReading) return;
    this.#isReading = true;
    try {
      while (this.#pending.size > 0 || this.#awaitedHello !== undefined) {
        const [identity, ...parts] = await this.#socket.receive();
        this.#handle(identity as Buffer, parts);
      }
    } catch (cause) {
      this.close(cause instanceof ZiparError ? cause : unreachable(cause));
    } finally {
      this.#isReading = false;
    }
  }

  #handle(identity: Buffer, parts: readonly Buffer[]): void {
    if (this.#identity === undefined) {
      this.#greet(identity, parts);
      return;
    }
    if (!this.#identity.equals(identity)) return; // a stranger: it will hear nothing, and give up
    const { reply, arrays } = decodeReply(parts);
    if (reply.type === "hello" || reply.epoch !== this.#epoch) return; // stale
    this.#vigil.heard();
    if (reply.type === "fatal") throw failureOf(reply.error, "the worker cannot go on");
    if (reply.type === "pulse") {
      this.#vigil.pulse(reply.count);
      return;
    }
    const pending = this.#pending.get(reply.request);
    if (pending === undefined)
      throw malformed(`a "${reply.type}" to request ${reply.request}, which nobody waits for`);
    if (reply.type === "progress") {
      this.#vigil.progressed();
      pending.onProgress?.(reply);
      return;
    }
    this.#pending.delete(reply.request);
    this.#vigil.answered();
    const [next] = this.#pending.values();
    this.#vigil.await(next?.what);
    if (reply.type === "error")
      pending.reject(failureOf(reply.error, `the worker refused "${pending.what}"`));
    else pending.resolve({ reply, arrays });
  }

  /** A message of somebody who may become our worker. */
  #greet(identity: Buffer, parts: readonly Buffer[]): void {
    const reply = this.#bound.isPublic ? decodeIfPossible(parts) : decodeReply(parts).reply;
    if (reply?.type !== "hello") return;
    const awaited = this.#awaitedHello;
    this.#awaitedHello = undefined;
    awaited?.resolve({ identity, hello: reply });
  }
}

function decodeIfPossible(parts: readonly Buffer[]): Reply | undefined {
  try {
    return decodeReply(parts).reply;
  } catch {
    return undefined;
  }
}

const CODES = {
  protocol: "protocol",
  "protocol-version": "protocol-version",
  "bad-request": "protocol",
  prompt: "invalid-options",
  checkpoint: "checkpoint",
  device: "device",
  "out-of-memory": "out-of-memory",
  "not-ready": "protocol",
  internal: "internal",
} as const satisfies Record<WorkerFailure["code"], ZiparErrorCode>;

/** A worker's own error as ours; the Python traceback travels as the cause. */
function failureOf({ code, message, traceback, details }: WorkerFailure, what: string): ZiparError {
  const own = code === "prompt" || code === "checkpoint" || code === "device" || code === "out-of-memory";
  return new ZiparError({
    code: CODES[code],
    message: own ? message : `${what}: ${message}`,
    details: { ...details, workerCode: code },
    cause: traceback === undefined ? undefined : new Error(traceback),
  });
}

function hung(what: string, ms: number): ZiparError {
  return new ZiparError({
    code: "worker-timeout",
    message:
      `the worker came no further with "${what}" for ${(ms / 1000).toFixed(1)} s and counts as hung; ` +
      "if it was only slow, raise the engine's `hangTimeoutMs`",
  });
}

function unreachable(cause: unknown): ZiparError {
  return new ZiparError({ code: "worker-died", message: "the connection to the worker broke", cause });
}
