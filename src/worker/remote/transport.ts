import * as zmq from "zeromq";
import { reasonOf, ZiparError } from "../../errors.ts";
import { type BoundSocket, routerOptions, type Transport } from "../transport.ts";
import { bindWithRetries } from "./bind-with-retries.ts";
import type { ListenAddress } from "./listen-address.ts";
import type { Credentials } from "./options.ts";
import { type DialIn, zapHandler } from "./zap-handler.ts";

const HANDSHAKE_TIMEOUT_MS = 5_000;

export interface RemoteTransportOptions {
  readonly address: ListenAddress;
  readonly curve: Credentials["curve"];
  readonly heartbeatTimeoutMs: number;
  /** A client with an unknown key, or without one, was refused. */
  readonly onStranger: (dialIn: DialIn) => void;
}

/** TCP, with CURVE where there are keys. One worker at a time gets in. */
export function remoteTransport(options: RemoteTransportOptions): Transport {
  return { bind: () => bind(options) };
}

/** Tells the sockets of this process apart. */
let lastDomain = 0;

async function bind({
  address,
  curve,
  heartbeatTimeoutMs,
  onStranger,
}: RemoteTransportOptions): Promise<BoundSocket> {
  const domain = `zipar-${++lastDomain}`;
  const stopListening = await zapHandler.expect(domain, (dialIn) => {
    const isKnown =
      curve === undefined
        ? dialIn.mechanism === "NULL"
        : dialIn.mechanism === "CURVE" && dialIn.key !== undefined && curve.workers.has(dialIn.key);
    if (!isKnown) onStranger(dialIn);
    return isKnown;
  });
  const socket = new zmq.Router({
    ...routerOptions(heartbeatTimeoutMs),
    context: zapHandler.context,
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
    stopListening();
    socket.close();
    throw cannotListen(address.endpoint, cause);
  }
  return { socket, endpoint: socket.lastEndpoint as string, isPublic: true, stopListening };
}

function cannotListen(endpoint: string, cause: unknown): ZiparError {
  return new ZiparError({
    code: "worker-start",
    message: `cannot listen for workers at ${endpoint} (${reasonOf(cause)}); give an address of this machine and a free port`,
    cause,
  });
}
