import * as zmq from "zeromq";
import { ZiparError } from "../../errors.ts";
import { type BoundSocket, routerOptions, type Transport } from "../transport.ts";
import type { ListenAddress } from "./listen-address.ts";
import type { Credentials } from "./remote-options.ts";
import { type DialIn, ZapHandler } from "./zap-handler.ts";

/** Without a domain libzmq would ask no handler about plain TCP, and with a handler gone let everybody in. */
const ZAP_DOMAIN = "zipar";
const HANDSHAKE_TIMEOUT_MS = 5_000;
/** The port of the link that was lost is free again only when libzmq's thread has closed it. */
const REBIND_PATIENCE_MS = 1_000;
const REBIND_INTERVAL_MS = 20;

export interface RemoteTransportOptions {
  readonly address: ListenAddress;
  readonly curve: Credentials["curve"];
  readonly heartbeatTimeoutMs: number;
  /** Somebody with an unknown key, or without one, was turned away. */
  readonly onStranger: (dialIn: DialIn) => void;
}

/** TCP, with CURVE where there are keys. One worker at a time gets in. */
export function remoteTransport(options: RemoteTransportOptions): Transport {
  return { bind: () => bind(options) };
}

async function bind({
  address,
  curve,
  heartbeatTimeoutMs,
  onStranger,
}: RemoteTransportOptions): Promise<BoundSocket> {
  // A context of its own: it has one handler, and other engines of this process know other workers.
  const context = new zmq.Context({ blocky: false });
  const handler = await ZapHandler.open(context, (dialIn) => {
    const isKnown =
      curve === undefined
        ? dialIn.mechanism === "NULL"
        : dialIn.mechanism === "CURVE" && dialIn.key !== undefined && curve.workers.has(dialIn.key);
    if (!isKnown) onStranger(dialIn);
    return isKnown;
  });
  const socket = new zmq.Router({
    ...routerOptions(heartbeatTimeoutMs),
    context,
    ipv6: address.isIpv6,
    zapDomain: ZAP_DOMAIN,
    zapEnforceDomain: true,
    handshakeInterval: HANDSHAKE_TIMEOUT_MS,
    // An idle worker, which hears nothing but heartbeats, takes its patience from them.
    heartbeatTimeToLive: heartbeatTimeoutMs,
    ...(curve === undefined ? {} : { curveServer: true, curveSecretKey: curve.secretKey }),
  });
  try {
    await bindPatiently(socket, address.endpoint);
  } catch (error) {
    handler.close();
    socket.close();
    throw error;
  }
  return { socket, endpoint: socket.lastEndpoint as string, isPublic: true, seal: () => handler.close() };
}

async function bindPatiently(socket: zmq.Router, endpoint: string): Promise<void> {
  const deadline = performance.now() + REBIND_PATIENCE_MS;
  for (;;) {
    try {
      return await socket.bind(endpoint);
    } catch (cause) {
      const isTaken = (cause as NodeJS.ErrnoException).code === "EADDRINUSE";
      if (!isTaken || performance.now() > deadline) throw cannotListen(endpoint, cause);
      await new Promise((resolve) => setTimeout(resolve, REBIND_INTERVAL_MS));
    }
  }
}

function cannotListen(endpoint: string, cause: unknown): ZiparError {
  const reason = cause instanceof Error ? cause.message : String(cause);
  return new ZiparError({
    code: "worker-start",
    message: `cannot listen for workers at ${endpoint} (${reason}); give an address of this machine and a free port`,
    cause,
  });
}
