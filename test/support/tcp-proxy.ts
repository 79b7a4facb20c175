import { connect, createServer, type Server, type Socket } from "node:net";

/** A network between a worker and its engine that can be broken. */
export interface TcpProxy {
  readonly port: number;
  /** A cable is pulled: connections stay open and carry nothing, in either direction; new ones come to nothing. */
  freeze(): void;
  /** The cable is in again: what was sent meanwhile arrives, late. */
  thaw(): void;
  /** All connections end at once, and new ones are refused. */
  cut(): void;
  /** The network works again; what was frozen is lost for good. */
  restore(): void;
  close(): void;
}

/** Forwards connections to a port of this machine. */
export async function tcpProxy(targetPort: () => number): Promise<TcpProxy> {
  const sockets = new Set<Socket>();
  const pairs = new Map<Socket, Socket>();
  let state: "open" | "frozen" | "cut" = "open";
  const keep = (socket: Socket) => {
    sockets.add(socket);
    socket.on("error", () => socket.destroy()).on("close", () => sockets.delete(socket));
  };
  const server = createServer((near) => {
    keep(near);
    if (state === "cut") near.destroy();
    if (state !== "open") return;
    const far = connect(targetPort(), "127.0.0.1");
    keep(far);
    pairs.set(near, far);
    join(near, far);
    near.on("close", () => {
      pairs.delete(near);
      far.destroy();
    });
    far.on("close", () => near.destroy());
  });
  const port = await listen(server);
  const end = () => {
    for (const socket of sockets) socket.destroy();
  };
  return {
    port,
    freeze() {
      state = "frozen";
      for (const socket of sockets) socket.unpipe().pause();
    },
    thaw() {
      state = "open";
      for (const [near, far] of pairs) join(near, far);
    },
    cut() {
      state = "cut";
      end();
    },
    restore() {
      end();
      state = "open";
    },
    close() {
      end();
      server.close();
    },
  };
}

function join(near: Socket, far: Socket): void {
  near.pipe(far);
  far.pipe(near);
}

function listen(server: Server): Promise<number> {
  return new Promise((resolve) => {
    server.listen(0, "127.0.0.1", () => resolve((server.address() as { port: number }).port));
  });
}
