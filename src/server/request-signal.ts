import { ZiparError } from "../errors.ts";

/** Why the images of a request are to end. */
export interface RequestSignal {
  readonly signal: AbortSignal;
  hangUp(): void;
  /** The request is done: nothing aborts it any more. */
  clear(): void;
}

/**
 * Aborted when the client hangs up, the time is over or the server stops, with a `cancelled` that says which. Listens
 * by hand: `AbortSignal.any` keeps what is made from a long-lived signal.
 */
export function requestSignal(client: AbortSignal, stopping: AbortSignal, timeoutMs: number): RequestSignal {
  const controller = new AbortController();
  const hangUp = () => controller.abort(reason("the client hung up", 499));
  const stop = () => controller.abort(reason("the server is stopping", 503));
  const timer = setTimeout(
    () =>
      controller.abort(
        reason(`the request took longer than ${timeoutMs / 1000} s, which is this server's limit`, 504),
      ),
    timeoutMs,
  );
  client.addEventListener("abort", hangUp);
  stopping.addEventListener("abort", stop);
  if (client.aborted) hangUp();
  if (stopping.aborted) stop();
  return {
    signal: controller.signal,
    hangUp,
    clear() {
      clearTimeout(timer);
      client.removeEventListener("abort", hangUp);
      stopping.removeEventListener("abort", stop);
    },
  };
}

function reason(message: string, status: number): ZiparError {
  return new ZiparError({ code: "cancelled", message, details: { status } });
}
