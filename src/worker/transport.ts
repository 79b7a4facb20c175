import { mkdtempSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import * as zmq from "zeromq";
import { LIMITS } from "../protocol/messages.ts";

/** How a worker reaches the engine. */
export interface Transport {
  bind(): Promise<BoundSocket>;
}

/** A socket that a worker can dial in to. */
export interface BoundSocket {
  readonly socket: zmq.Router;
  /** What the worker connects to. */
  readonly endpoint: string;
  /** Whether strangers can reach it: then nonsense does not end the wait for the worker. */
  readonly isPublic: boolean;
  /** Lets nobody else in: called once the worker stands, and before the socket is closed. Safe to call twice. */
  seal(): void;
}

/** @param heartbeatTimeoutMs how long the worker's threads may be silent; 0 waits for ever */
export function routerOptions(heartbeatTimeoutMs: number) {
  return {
    linger: 0,
    mandatory: true,
    maxMessageSize: LIMITS.frameBytes,
    // Nothing is ever too much to queue for a worker, so that a send which cannot be done at once finds it gone.
    sendHighWaterMark: 0,
    sendTimeout: 0,
    heartbeatInterval: Math.ceil(heartbeatTimeoutMs / 3),
    heartbeatTimeout: heartbeatTimeoutMs,
  } as const;
}

/** For a worker on this machine: a socket in a directory that only this user can enter, and that is gone once the link stands. */
export function privateTransport(heartbeatTimeoutMs: number): Transport {
  return { bind: () => bind(heartbeatTimeoutMs) };
}

async function bind(heartbeatTimeoutMs: number): Promise<BoundSocket> {
  zmq.context.blocky = false;
  const socket = new zmq.Router(routerOptions(heartbeatTimeoutMs));
  // Windows has no ipc transport in libzmq's default build
  if (process.platform === "win32") {
    await socket.bind("tcp://127.0.0.1:*");
    return { socket, endpoint: socket.lastEndpoint as string, isPublic: false, seal() {} };
  }
  const directory = mkdtempSync(join(tmpdir(), "zipar-")); // mode 0700
  const removeDirectory = () => rmSync(directory, { recursive: true, force: true });
  process.once("exit", removeDirectory);
  const endpoint = `ipc://${join(directory, "w.sock")}`;
  await socket.bind(endpoint);
  const seal = () => {
    process.off("exit", removeDirectory);
    removeDirectory();
  };
  return { socket, endpoint, isPublic: false, seal };
}
