import type * as zmq from "zeromq";
import { reasonOf, ZiparError } from "../../errors.ts";
import { loadZeromq } from "../../system/native-modules.ts";
import { type BoundSocket, type MessageSocket, routerOptions } from "../transport.ts";
import { bindWithRetries } from "./bind-with-retries.ts";
import type { ListenAddress } from "./listen-address.ts";
import type { Credentials } from "./options.ts";
import { type DialIn, zapHandler } from "./zap-handler.ts";

const HANDSHAKE_TIMEOUT_MS = 5_000;
/** How often it is asked whether anybody still waits for a message: a pending receive keeps Node alive. */
const RECEIVE_TIMEOUT_MS = 500;

/** Who may take a seat, and who is told of those who may not. */
export interface SeatOptions {
  readonly curve: Credentials["curve"];
  /** A client with an unknown key, or without one, was refused. */
  readonly onStranger: (dialIn: DialIn) => void;
}

/** Tells the sockets of this process apart. */
let lastDomain = 0;

/**
 * TCP, with CURVE where there are keys: one socket for several workers, each of which takes a seat. As many get in as
 * there are free seats. It is open from the first seat to the last one.
 */
export class RemoteListener {
  readonly endpoint: string;
  readonly #socket: zmq.Router;
  readonly #domain: string;
  readonly #seats = new Set<Seat>();
  readonly #seatOf = new Map<string, Seat>();
  readonly #onClose: () => void;
  #stopAdmitting: (() => void) | undefined;
  #isReading = false;
  #isClosed = false;
  #writes: Promise<unknown> = Promise.resolve();

  private constructor(socket: zmq.Router, domain: string, onClose: () => void) {
    this.#socket = socket;
    this.#domain = domain;
    this.#onClose = onClose;
    this.endpoint = socket.lastEndpoint as string;
  }

  /**
   * @param onClose called when the last seat is given up
   * @throws ZiparError `worker-start`
   */
  static async open(
    address: ListenAddress,
    curve: Credentials["curve"],
    heartbeatTimeoutMs: number,
    onClose: () => void,
  ): Promise<RemoteListener> {
    const domain = `zipar-${++lastDomain}`;
    const socket = new (loadZeromq().Router)({
      ...routerOptions(heartbeatTimeoutMs),
      context: zapHandler.context,
      receiveTimeout: RECEIVE_TIMEOUT_MS,
      ipv6: address.isIpv6,
      // Without a domain libzmq asks no handler about plain TCP, and admits everybody.
      zapDomain: domain,
      zapEnforceDomain: true,
      handshakeInterval: HANDSHAKE_TIMEOUT_MS,
      // An idle worker hears nothing but heartbeats. They tell it how long to wait for the next one.
      heartbeatTimeToLive: heartbeatTimeoutMs,
      ...(curve === undefined ? {} : { curveServer: true, curveSecretKey: curve.secretKey }),
    });
    try {
      await bindWithRetries(socket, address.endpoint);
    } catch (cause) {
      socket.close();
      throw cannotListen(address.endpoint, cause);
    }
    return new RemoteListener(socket, domain, onClose);
  }

  /** A seat for one worker. Until its `stopListening` somebody may dial in to it. */
  async seat(options: SeatOptions): Promise<BoundSocket> {
    const seat = new Seat(options, {
      onWait: () => this.#read(),
      send: (parts) => this.#send(parts),
      onClose: () => this.#leave(seat),
    });
    this.#seats.add(seat);
    this.#stopAdmitting ??= await zapHandler.expect(this.#domain, (dialIn) => this.#admits(dialIn));
    const stopListening = () => {
      seat.isFree = false;
      if (this.#freeSeats.length > 0) return;
      this.#stopAdmitting?.();
      this.#stopAdmitting = undefined;
    };
    return { socket: seat, endpoint: this.endpoint, isPublic: true, stopListening };
  }

  /** Whether the last seat was given up: there are no new ones then. */
  get isClosed(): boolean {
    return this.#isClosed;
  }

  get #freeSeats(): readonly Seat[] {
    return [...this.#seats].filter(({ isFree }) => isFree);
  }

  #admits(dialIn: DialIn): boolean {
    const free = this.#freeSeats;
    if (free.some(({ options }) => isKnown(dialIn, options.curve))) return true;
    free[0]?.options.onStranger(dialIn);
    return false;
  }

  /** One writer at a time: a second concurrent send would throw EBUSY. */
  #send(parts: (Uint8Array | string)[]): Promise<void> {
    const sent = this.#writes.then(() => this.#socket.send(parts));
    this.#writes = sent.catch(() => {}); // whoever sent it is told
    return sent;
  }

  /** Deals out what arrives, as long as a seat waits for something. */
  async #read(): Promise<void> {
    if (this.#isReading) return;
    this.#isReading = true;
    try {
      while ([...this.#seats].some(({ isWaiting }) => isWaiting)) {
        const parts = await this.#socket.receive().catch(unlessNothingCame);
        if (parts !== undefined) this.#deal(parts);
      }
    } catch (cause) {
      for (const seat of this.#seats) seat.fail(cause);
    } finally {
      this.#isReading = false;
    }
  }

  /** A client that is not known yet takes the free seat that waits longest. */
  #deal(parts: Buffer[]): void {
    const identity = (parts[0] as Buffer).toString("hex");
    const seat = this.#seatOf.get(identity) ?? this.#freeSeats[0];
    if (seat === undefined) return; // it will hear nothing, and give up
    this.#seatOf.set(identity, seat);
    seat.put(parts);
  }

  #leave(seat: Seat): void {
    this.#seats.delete(seat);
    for (const [identity, other] of this.#seatOf) if (other === seat) this.#seatOf.delete(identity);
    if (this.#seats.size > 0) return;
    this.#isClosed = true;
    this.#stopAdmitting?.();
    this.#socket.linger = seat.linger;
    this.#socket.close();
    this.#onClose();
  }
}

interface SeatEvents {
  /** A message is waited for. */
  onWait(): void;
  send(parts: (Uint8Array | string)[]): Promise<void>;
  onClose(): void;
}

/** What one worker's channel sees of the listener. */
class Seat implements MessageSocket {
  isFree = true;
  linger = 0;
  readonly options: SeatOptions;
  readonly #events: SeatEvents;
  readonly #inbox: Buffer[][] = [];
  #waiting: { resolve(parts: Buffer[]): void; reject(error: unknown): void } | undefined;
  #isClosed = false;

  constructor(options: SeatOptions, events: SeatEvents) {
    this.options = options;
    this.#events = events;
  }

  get isWaiting(): boolean {
    return this.#waiting !== undefined;
  }

  send(parts: (Uint8Array | string)[]): Promise<void> {
    return this.#events.send(parts);
  }

  receive(): Promise<Buffer[]> {
    const next = this.#inbox.shift();
    if (next !== undefined) return Promise.resolve(next);
    return new Promise((resolve, reject) => {
      if (this.#isClosed) return reject(new Error("the seat was given up"));
      this.#waiting = { resolve, reject };
      this.#events.onWait();
    });
  }

  put(parts: Buffer[]): void {
    const waiting = this.#waiting;
    this.#waiting = undefined;
    if (waiting === undefined) this.#inbox.push(parts);
    else waiting.resolve(parts);
  }

  fail(error: unknown): void {
    this.#waiting?.reject(error);
    this.#waiting = undefined;
  }

  close(): void {
    if (this.#isClosed) return;
    this.#isClosed = true;
    this.isFree = false;
    this.fail(new Error("the seat was given up"));
    this.#events.onClose();
  }
}

function isKnown(dialIn: DialIn, curve: Credentials["curve"]): boolean {
  if (curve === undefined) return dialIn.mechanism === "NULL";
  return dialIn.mechanism === "CURVE" && dialIn.key !== undefined && curve.workers.has(dialIn.key);
}

function unlessNothingCame(error: unknown): undefined {
  if ((error as NodeJS.ErrnoException).code === "EAGAIN") return undefined;
  throw error;
}

function cannotListen(endpoint: string, cause: unknown): ZiparError {
  return new ZiparError({
    code: "worker-start",
    message: `cannot listen for workers at ${endpoint} (${reasonOf(cause)}); give an address of this machine and a free port`,
    cause,
  });
}
