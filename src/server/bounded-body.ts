/** Pieces in which bytes go to the connection: what it holds of a slow client's is no more than a few of them. */
const PIECE_BYTES = 1 << 16;

/** The body of a reply whose client may be slow or gone. */
export interface BoundedBody {
  readonly stream: ReadableStream<Uint8Array>;
  /** Bytes that the client has not taken. */
  readonly pendingBytes: number;
  send(bytes: Uint8Array): void;
  /** Nothing is sent any more: what is pending still goes out. */
  end(): void;
}

/**
 * A client that leaves bytes pending for `deliveryTimeoutMs` is cut off.
 * @param onClose called once: the client has everything, or is gone (`isComplete` false)
 */
export function boundedBody(deliveryTimeoutMs: number, onClose: (isComplete: boolean) => void): BoundedBody {
  const pending: Uint8Array[] = [];
  let pendingBytes = 0;
  let hasEnded = false;
  let isClosed = false;
  let timer: NodeJS.Timeout | undefined;
  let controller: ReadableStreamDefaultController<Uint8Array>;

  function close(isComplete: boolean): void {
    if (isClosed) return;
    isClosed = true;
    clearTimeout(timer);
    pending.length = 0;
    pendingBytes = 0;
    onClose(isComplete);
  }

  function flow(): void {
    if (isClosed) return;
    while ((controller.desiredSize ?? 0) > 0) {
      const piece = pending.shift();
      if (piece === undefined) break;
      pendingBytes -= piece.byteLength;
      controller.enqueue(piece);
    }
    if (pending.length > 0) {
      timer ??= setTimeout(() => {
        controller.error(new Error(`the client took nothing for ${deliveryTimeoutMs} ms`));
        close(false);
      }, deliveryTimeoutMs);
      return;
    }
    clearTimeout(timer);
    timer = undefined;
    if (!hasEnded) return;
    controller.close();
    close(true);
  }

  const stream = new ReadableStream<Uint8Array>(
    {
      start(given) {
        controller = given;
      },
      pull: flow,
      cancel() {
        close(false);
      },
    },
    new ByteLengthQueuingStrategy({ highWaterMark: PIECE_BYTES }),
  );
  return {
    stream,
    get pendingBytes() {
      return pendingBytes;
    },
    send(bytes) {
      if (isClosed) return;
      for (let start = 0; start < bytes.byteLength; start += PIECE_BYTES)
        pending.push(bytes.subarray(start, start + PIECE_BYTES));
      pendingBytes += bytes.byteLength;
      flow();
    },
    end() {
      hasEnded = true;
      flow();
    },
  };
}

/** A reply that is whole already. */
export function boundedReply(
  bytes: Uint8Array,
  deliveryTimeoutMs: number,
  headers: Readonly<Record<string, string>>,
  onClose: () => void = () => {},
): Response {
  const body = boundedBody(deliveryTimeoutMs, onClose);
  body.send(bytes);
  body.end();
  return new Response(body.stream, { headers: { "content-length": String(bytes.byteLength), ...headers } });
}
