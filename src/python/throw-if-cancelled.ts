import { ZiparError } from "../errors.ts";

/**
 * For after a program has failed: one that was ended on our behalf, or by the Ctrl-C that reached us too.
 * @throws ZiparError `cancelled`
 */
export function throwIfCancelled(signal: AbortSignal | undefined): void {
  if (!signal?.aborted) return;
  throw new ZiparError({ code: "cancelled", message: "the set-up was cancelled", cause: signal.reason });
}
