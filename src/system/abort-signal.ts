/** Those who wait for a signal to be aborted. */
interface Waiting {
  readonly listeners: Set<() => void>;
  /** What the signal calls. */
  tell(): void;
}

/** A signal gets one listener however many wait for it: Node warns of more than ten. */
const waitingFor = new WeakMap<AbortSignal, Waiting>();

/** Whether a value serves as an AbortSignal: one of another realm, such as jsdom's, is no instance of our class. */
export function isAbortSignal(value: unknown): value is AbortSignal {
  const signal = value as Partial<AbortSignal> | null | undefined;
  return (
    typeof signal?.aborted === "boolean" &&
    typeof signal.addEventListener === "function" &&
    typeof signal.removeEventListener === "function"
  );
}

/** Calls `listener` when the signal is aborted, at once where it is already. The returned function takes it off. */
export function onAbort(signal: AbortSignal, listener: () => void): () => void {
  if (signal.aborted) {
    listener();
    return () => {};
  }
  const waiting = waitingFor.get(signal) ?? waitFor(signal);
  waiting.listeners.add(listener);
  return () => {
    waiting.listeners.delete(listener);
    if (waiting.listeners.size > 0) return;
    signal.removeEventListener("abort", waiting.tell);
    if (waitingFor.get(signal) === waiting) waitingFor.delete(signal);
  };
}

/** What the promise settles with, or rejects with the signal's reason first. */
export function untilAborted<Value>(promise: Promise<Value>, signal: AbortSignal): Promise<Value> {
  return new Promise((resolve, reject) => {
    const unfollow = onAbort(signal, () => reject(signal.reason));
    promise.then(resolve, reject).finally(unfollow);
  });
}

function waitFor(signal: AbortSignal): Waiting {
  const listeners = new Set<() => void>();
  const waiting: Waiting = {
    listeners,
    tell() {
      for (const listener of listeners) listener();
    },
  };
  waitingFor.set(signal, waiting);
  signal.addEventListener("abort", waiting.tell);
  return waiting;
}
