import { type BoundedBody, boundedBody } from "./bounded-body.ts";

/** Proxies close connections on which nothing moves. */
const KEEP_ALIVE_MS = 15_000;
/** What a slow client may leave pending before previews are left out. */
const BEHIND_BYTES = 1 << 16;

const HEADERS = {
  "content-type": "text/event-stream; charset=utf-8",
  "cache-control": "no-store",
  "x-accel-buffering": "no", // nginx would hold events back
};

/** Server-sent events. */
export interface EventStream {
  readonly response: Response;
  /** The client is slow: what it can do without should be left out. */
  readonly isBehind: boolean;
  send(type: string, data: unknown, id?: number): void;
  end(): void;
}

/** @param onClose called once: the client has everything, or is gone (`isComplete` false) */
export function eventStream(deliveryTimeoutMs: number, onClose: (isComplete: boolean) => void): EventStream {
  const body: BoundedBody = boundedBody(deliveryTimeoutMs, (isComplete) => {
    clearInterval(keepAlive);
    onClose(isComplete);
  });
  const write = (text: string) => body.send(Buffer.from(text));
  const keepAlive = setInterval(() => write(": waiting\n\n"), KEEP_ALIVE_MS);
  keepAlive.unref();
  write(": zipar\n\n"); // sends the headers
  return {
    response: new Response(body.stream, { headers: HEADERS }),
    get isBehind() {
      return body.pendingBytes > BEHIND_BYTES;
    },
    send(type, data, id) {
      write(`${id === undefined ? "" : `id: ${id}\n`}event: ${type}\ndata: ${JSON.stringify(data)}\n\n`);
    },
    end: body.end,
  };
}
