import { ZiparError } from "../errors.ts";
import { decodeReply, encodeMessage, type NamedArray } from "../protocol/codec.ts";
import type { Refuse, Reply } from "../protocol/messages.ts";
import type { RequestBody, RequestType } from "../protocol/requests.ts";
import { failureOf, hung, unreachable } from "./failures.ts";
import { type Answer, PendingRequests, type Progress } from "./pending-requests.ts";
import type { BoundSocket, MessageSocket, Transport } from "./transport.ts";
import { type HangTimeouts, Watchdog } from "./watchdog.ts";

export type Hello = Extract<Reply, { type: "hello" }>;
/** Why a worker is refused. */
export type Refusal = Pick<Refuse, "reason" | "message">;

const REFUSAL_LINGER_MS = 200;

/** How long a broken link waits for its cause, the exit of the process, to become known. */
const CAUSE_GRACE_MS = 50;
/** A worker ignores what belongs to another epoch; the SDK's begin at 1. */
const IGNORED_EPOCH = 0;

interface AwaitedHello {
  resolve(received: { identity: Buffer; hello: Hello }): void;
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
  readonly #watchdog: Watchdog;
  readonly #bound: BoundSocket;
  readonly #socket: MessageSocket;
  readonly #pending = new PendingRequests();
  #awaitedHello: AwaitedHello | undefined;
  #identity: Buffer | undefined;
  #epoch = 0;
  #nextRequest = 1;
  #isReading = false;
  #writes: Promise<unknown> = Promise.resolve();
  #failure: ZiparError | undefined;
  #isLeaving = false;
  #tellClosed: (reason: ZiparError) => void = () => {};

  private constructor(bound: BoundSocket, timeouts: HangTimeouts) {
    this.closed = new Promise((resolve) => {
      this.#tellClosed = resolve;
    });
    this.#watchdog = new Watchdog(timeouts, {
      onSilence: () => this.#probe(),
      onHang: (request, ms) => this.close(hung(request, ms)),
    });
    this.#bound = bound;
    this.#socket = bound.socket;
    this.endpoint = bound.endpoint;
  }

  static async open(transport: Transport, timeouts: HangTimeouts): Promise<WorkerChannel> {
    return new WorkerChannel(await transport.bind(), timeouts);
  }

  /** Waits for the first hello that is not refused. From then on the channel belongs to the worker that said it. */
  async awaitHello(refusalOf: (hello: Hello) => Refusal | undefined): Promise<Hello> {
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
        this.#bound.stopListening(); // the link stands; nothing is left behind however we end
        return hello;
      }
      this.#sendRefusal(identity, hello.epoch, refusal);
    }
  }

  /**
   * Sends a request and waits for its reply.
   * @throws ZiparError with the worker's own code, or with that of what ended the channel, which is its `cause` then
   */
  request<Type extends RequestType>(
    body: RequestBody<Type>,
    arrays: readonly NamedArray[] = [],
    onProgress?: (progress: Progress) => void,
  ): Promise<Answer<Type>> {
    const request = this.#nextRequest++;
    const answer = this.#pending.add(request, body.type, onProgress);
    if (this.#failure !== undefined) {
      this.#pending.failAll(this.#failure);
      return answer;
    }
    if (this.#pending.count === 1) this.#watchdog.watch(body.type);
    this.#send(encodeMessage({ ...body, epoch: this.#epoch, request }, arrays));
    this.#read();
    return answer;
  }

  /** What ended the channel; undefined while it is open. */
  get failure(): ZiparError | undefined {
    return this.#failure;
  }

  /** Whether the worker has said that it wants to leave. */
  get isLeaving(): boolean {
    return this.#isLeaving;
  }

  /** Ends the channel: everything that waits is rejected. */
  close(error: ZiparError): void {
    if (this.#failure !== undefined) return;
    this.#failure = error;
    this.#watchdog.stop();
    this.#awaitedHello?.reject(error);
    this.#pending.failAll(error);
    this.#bound.stopListening();
    this.#socket.close();
    this.#tellClosed(error);
  }

  /** Tells the worker why it cannot serve; the channel is to be closed then. */
  async refuse(refusal: Refusal): Promise<void> {
    if (this.#identity !== undefined) this.#sendRefusal(this.#identity, this.#epoch, refusal);
    await this.#writes;
    this.#socket.linger = REFUSAL_LINGER_MS; // or closing would drop what was queued
  }

  /** Nothing was heard for a while: a message that the worker ignores cannot be sent once libzmq has dropped the link. */
  #probe(): void {
    if (this.#identity === undefined) return;
    const [header] = encodeMessage({ type: "stats", epoch: IGNORED_EPOCH, request: 0 }, []);
    this.#send([header as Uint8Array]);
  }

  /** The link is broken; the exit of the process, which says why, is usually known a moment later. */
  #closeSoon(cause: unknown): void {
    if (this.#failure !== undefined) return;
    setTimeout(() => this.close(unreachable(cause)), CAUSE_GRACE_MS);
  }

  #send(parts: Uint8Array[]): void {
    this.#write(this.#identity, parts, (cause) => this.#closeSoon(cause));
  }

  #sendRefusal(identity: Buffer, epoch: number, refusal: Refusal): void {
    const parts = encodeMessage({ type: "refuse", epoch, request: 0, ...refusal }, []);
    this.#write(identity, parts, () => {}); // it may be gone already
  }

  /** One writer at a time: a second concurrent send would throw EBUSY. */
  #write(identity: Buffer | undefined, parts: Uint8Array[], onFailure: (cause: unknown) => void): void {
    this.#writes = this.#writes.then(() => this.#socket.send([identity ?? "", ...parts])).catch(onFailure);
  }

  async #read(): Promise<void> {
    if (this.#isReading) return;
    this.#isReading = true;
    try {
      while (this.#pending.count > 0 || this.#awaitedHello !== undefined) {
        const [identity, ...parts] = await this.#socket.receive();
        this.#receive(identity as Buffer, parts);
      }
    } catch (cause) {
      this.close(cause instanceof ZiparError ? cause : unreachable(cause));
    } finally {
      this.#isReading = false;
    }
  }

  #receive(identity: Buffer, parts: readonly Buffer[]): void {
    if (this.#identity === undefined) {
      this.#receiveHello(identity, parts);
      return;
    }
    if (!this.#identity.equals(identity)) return; // a stranger: it will hear nothing, and give up
    const { reply, arrays } = decodeReply(parts);
    if (reply.type === "hello" || reply.epoch !== this.#epoch) return; // stale
    this.#watchdog.heard();
    switch (reply.type) {
      case "fatal":
        throw failureOf(reply.error, "the worker cannot go on");
      case "leaving":
        this.#isLeaving = true;
        break;
      case "pulse":
        this.#watchdog.pulse(reply.count);
        break;
      case "progress":
        this.#watchdog.progressed();
        this.#pending.receive(reply, arrays);
        break;
      default:
        this.#pending.receive(reply, arrays);
        this.#watchdog.answered();
        this.#watchdog.watch(this.#pending.oldest);
    }
  }

  /** The first message of somebody who may become our worker. */
  #receiveHello(identity: Buffer, parts: readonly Buffer[]): void {
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
