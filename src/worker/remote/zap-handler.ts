import * as zmq from "zeromq";
import { encodeZ85 } from "./z85.ts";

/** Where libzmq looks for the handler, in the context of the socket that somebody dials in to. */
const ENDPOINT = "inproc://zeromq.zap.01";
const VERSION = "1.0";

/** Somebody in the handshake. */
export interface DialIn {
  readonly address: string;
  readonly mechanism: string;
  /** Public key, where the mechanism is CURVE. */
  readonly key: string | undefined;
}

/**
 * Decides who may finish the handshake: ZeroMQ's authentication protocol (RFC 27).
 *
 * CURVE alone proves that a client owns *some* key. Once this is closed, nobody gets in any more, given that the socket
 * has `zapEnforceDomain`. A context has one handler at most. It keeps Node alive while it is open.
 */
export class ZapHandler {
  readonly #socket: zmq.Reply;
  readonly #admits: (dialIn: DialIn) => boolean;

  private constructor(socket: zmq.Reply, admits: (dialIn: DialIn) => boolean) {
    this.#socket = socket;
    this.#admits = admits;
  }

  static async open(context: zmq.Context, admits: (dialIn: DialIn) => boolean): Promise<ZapHandler> {
    const socket = new zmq.Reply({ context, linger: 0 });
    await socket.bind(ENDPOINT);
    const handler = new ZapHandler(socket, admits);
    handler.#serve().catch(() => handler.close()); // without a handler nobody gets in
    return handler;
  }

  close(): void {
    this.#socket.close();
  }

  async #serve(): Promise<void> {
    while (!this.#socket.closed) {
      const request = await this.#socket.receive();
      await this.#socket.send(this.#answer(request));
    }
  }

  #answer([version, request, , address, , mechanism, credential]: readonly Buffer[]): (string | Buffer)[] {
    const dialIn = {
      address: String(address),
      mechanism: String(mechanism),
      key: credential?.length === 32 ? encodeZ85(credential) : undefined,
    };
    const isAdmitted = String(version) === VERSION && this.#admits(dialIn);
    const [status, text] = isAdmitted ? ["200", "welcome"] : ["400", "this key is not known here"];
    return [VERSION, request ?? "", status, text, dialIn.key ?? "", ""] as (string | Buffer)[];
  }
}
