import type * as zmq from "zeromq";

const RETRY_MS = 1_000;
const INTERVAL_MS = 20;

/** Binds where a socket was bound that is being closed: the address is free only when libzmq's thread has done that. */
export async function bindWithRetries(socket: zmq.Router | zmq.Reply, endpoint: string): Promise<void> {
  const deadline = performance.now() + RETRY_MS;
  for (;;) {
    try {
      return await socket.bind(endpoint);
    } catch (error) {
      const isTaken = (error as NodeJS.ErrnoException).code === "EADDRINUSE";
      if (!isTaken || performance.now() > deadline) throw error;
      await new Promise((resolve) => setTimeout(resolve, INTERVAL_MS));
    }
  }
}
