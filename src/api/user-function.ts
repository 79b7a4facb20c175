import { reasonOf } from "../errors.ts";
import type { Logger } from "../logger.ts";

/** A function of the user's that is called on the way of something that it may end. */
export interface UserFunction<Value> {
  /** Never throws. After a failure it calls nothing. */
  call(value: Value): void;
  /** Resolves once every promise that the function returned has been settled. */
  settled(): Promise<void>;
  /** What the function threw first, or a promise of it was rejected with. */
  failure(): { readonly cause: unknown } | undefined;
}

export function userFunction<Value>(
  call: (value: Value) => unknown,
  onFailure: () => void,
): UserFunction<Value> {
  let failure: { readonly cause: unknown } | undefined;
  let pending: Promise<unknown> = Promise.resolve();
  const fail = (cause: unknown) => {
    if (failure !== undefined) return;
    failure = { cause };
    onFailure();
  };
  return {
    call(value) {
      if (failure !== undefined) return;
      try {
        const returned = call(value);
        if (isThenable(returned)) pending = Promise.all([pending, Promise.resolve(returned).catch(fail)]);
      } catch (cause) {
        fail(cause);
      }
    },
    async settled() {
      await pending;
    },
    failure: () => failure,
  };
}

/** The logger, whose failure ends nothing: Node warns of the first one. */
export function userLogger(logger: Logger): Logger {
  let hasFailed = false;
  const warn = (cause: unknown) => {
    if (!hasFailed) process.emitWarning(`the logger that zipar was given failed: ${reasonOf(cause)}`);
    hasFailed = true;
  };
  const write = (level: keyof Logger) => (message: string) => {
    try {
      const returned: unknown = logger[level](message);
      if (isThenable(returned)) Promise.resolve(returned).catch(warn);
    } catch (cause) {
      warn(cause);
    }
  };
  return { debug: write("debug"), info: write("info"), warn: write("warn") };
}

function isThenable(value: unknown): value is PromiseLike<unknown> {
  return typeof (value as PromiseLike<unknown> | null | undefined)?.then === "function";
}
