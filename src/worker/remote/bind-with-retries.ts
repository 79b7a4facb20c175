import type * as zmq from "zeromq";

const RETRY_MS = 1_000;
const INTERVAL_MS = 20;

/** Binds to an address that a closing socket may still hold: libzmq closes sockets later, in a thread of its own. */
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
