import type * as zmq from "zeromq";
import { loadZeromq } from "../../system/native-modules.ts";
import { bindWithRetries } from "./bind-with-retries.ts";
import { encodeZ85 } from "./z85.ts";

/** Where libzmq looks for the handler, in the context of the listening socket. */
const ENDPOINT = "inproc://zeromq.zap.01";
const VERSION = "1.0";

/** A client in the handshake. */
export interface DialIn {
  readonly address: string;
  readonly mechanism: string;
  /** Public key, where the mechanism is CURVE. */
  readonly key: string | undefined;
}

export type Admits = (dialIn: DialIn) => boolean;

/**
 * Decides who may finish the handshake: ZeroMQ's authentication protocol (RFC 27). CURVE alone proves that a client owns
 * *some* key.
 *
 * A context has one handler; domains tell the sockets of several engines apart. The handler runs only while a worker is
 * expected, because its socket keeps Node alive. Without it libzmq admits nobody: all sockets set `zapEnforceDomain`.
 */
class ZapHandler {
  readonly #expected = new Map<string, Admits>();
  #context: zmq.Context | undefined;
  #socket: zmq.Reply | undefined;
  #opening: Promise<void> = Promise.resolve();

  /** Of its own: the default context may have another library's handler. Its threads last as long as the process. */
  get context(): zmq.Context {
    this.#context ??= new (loadZeromq().Context)({ blocky: false });
    return this.#context;
  }

  /** Answers for a domain until the returned function is called, which may be called twice. */
  async expect(domain: string, admits: Admits): Promise<() => void> {
    this.#expected.set(domain, admits);
    this.#opening = this.#opening.then(() => this.#open());
    await this.#opening;
    return () => {
      this.#expected.delete(domain);
      if (this.#expected.size === 0) this.#close();
    };
  }

  async #open(): Promise<void> {
    if (this.#socket !== undefined) return;
    const socket = new (loadZeromq().Reply)({ context: this.context, linger: 0 });
    await bindWithRetries(socket, ENDPOINT);
    this.#socket = socket;
    this.#serve(socket).catch(() => this.#close()); // it was closed, or is broken
  }

  #close(): void {
    this.#socket?.close();
    this.#socket = undefined;
  }

  async #serve(socket: zmq.Reply): Promise<void> {
    while (this.#socket === socket) {
      const request = await socket.receive();
      await socket.send(this.#answer(request));
    }
  }

  #answer(request: readonly Buffer[]): (string | Buffer)[] {
    const [version, id = "", domain, address, , mechanism, credential] = request;
    const key = credential?.length === 32 ? encodeZ85(credential) : undefined;
    const admits = this.#expected.get(String(domain));
    // Not 300, which means a temporary error: libzmq would leave the client waiting.
    if (admits === undefined) return [VERSION, id, "500", "there is a worker already", "", ""];
    const dialIn = { address: String(address), mechanism: String(mechanism), key };
    const isAdmitted = String(version) === VERSION && admits(dialIn);
    const [status, text] = isAdmitted ? ["200", "welcome"] : ["400", "this key is not known here"];
    return [VERSION, id, status as string, text as string, key ?? "", ""];
  }
}

export const zapHandler = new ZapHandler();
