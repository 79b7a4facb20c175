import { join } from "node:path";
import { LIMITS } from "../protocol/messages.ts";
import { loadZeromq } from "../system/native-modules.ts";
import {
  makeTemporaryDirectory,
  SOCKET_FILE,
  sweepTemporaryDirectories,
  temporaryFolders,
  temporaryPath,
} from "../system/temporary-directory.ts";

/** How a worker reaches the engine. */
export interface Transport {
  /** What the worker will connect to, where that is known before it is bound. */
  readonly endpoint?: string;
  bind(): Promise<BoundSocket>;
}

/** What a channel needs of a ROUTER socket. */
export interface MessageSocket {
  /** How long what was sent may take to go out after the socket was closed, in ms. */
  linger: number;
  /** The first part is the receiver. */
  send(parts: (Uint8Array | string)[]): Promise<void>;
  /** The first part is the sender. Keeps Node alive. */
  receive(): Promise<Buffer[]>;
  close(): void;
}

/** A socket that a worker can dial in to. */
export interface BoundSocket {
  readonly socket: MessageSocket;
  /** What the worker connects to. */
  readonly endpoint: string;
  /** Whether strangers can reach it. What they send must not end the wait for the worker. */
  readonly isPublic: boolean;
  /** Lets nobody else dial in: called once the link stands, and before the socket is closed. Safe to call twice. */
  stopListening(): void;
}

/** @param heartbeatTimeoutMs how long the worker's threads may be silent; 0 waits for ever */
export function routerOptions(heartbeatTimeoutMs: number) {
  return {
    linger: 0,
    mandatory: true,
    maxMessageSize: LIMITS.frameBytes,
    // The queue has no limit. A send that cannot be done at once fails: the worker is gone.
    sendHighWaterMark: 0,
    sendTimeout: 0,
    heartbeatInterval: Math.ceil(heartbeatTimeoutMs / 3),
    heartbeatTimeout: heartbeatTimeoutMs,
  } as const;
}

/**
 * For a worker on this machine, the best first: a socket in a directory that only this user can enter, and that is gone
 * once the link stands; where no folder can hold one, a port of this machine, where the token keeps strangers out.
 */
export function localTransports(heartbeatTimeoutMs: number): readonly Transport[] {
  loadZeromq().context.blocky = false;
  const loopback = { bind: () => bindLoopback(heartbeatTimeoutMs) };
  // Windows has no ipc transport in libzmq's default build
  if (process.platform === "win32") return [loopback];
  return [...temporaryFolders().map((folder) => privateTransport(heartbeatTimeoutMs, folder)), loopback];
}

function privateTransport(heartbeatTimeoutMs: number, folder: string): Transport {
  void sweepTemporaryDirectories(folder);
  const directory = temporaryPath(folder);
  const endpoint = `ipc://${join(directory, SOCKET_FILE)}`;
  return { endpoint, bind: () => bindPrivately(heartbeatTimeoutMs, directory, endpoint) };
}

async function bindPrivately(
  heartbeatTimeoutMs: number,
  directory: string,
  endpoint: string,
): Promise<BoundSocket> {
  const removeDirectory = makeTemporaryDirectory(directory);
  const socket = new (loadZeromq().Router)(routerOptions(heartbeatTimeoutMs));
  try {
    await socket.bind(endpoint);
  } catch (error) {
    socket.close();
    removeDirectory();
    throw error;
  }
  return { socket, endpoint, isPublic: false, stopListening: removeDirectory };
}

async function bindLoopback(heartbeatTimeoutMs: number): Promise<BoundSocket> {
  const socket = new (loadZeromq().Router)(routerOptions(heartbeatTimeoutMs));
  await socket.bind("tcp://127.0.0.1:*");
  return { socket, endpoint: socket.lastEndpoint as string, isPublic: true, stopListening() {} };
}
