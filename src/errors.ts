/** Every way in which zipar fails for a caller. */
export type ZiparErrorCode =
  | "invalid-options"
  | "model-not-found"
  | "checkpoint"
  | "device"
  | "python-environment"
  | "native-module"
  | "worker-start"
  | "worker-died"
  | "worker-timeout"
  | "protocol"
  | "protocol-version"
  | "out-of-memory"
  | "no-image-decoder"
  | "image-output"
  | "picture"
  | "trace"
  | "trace-mismatch"
  | "queue-full"
  | "cancelled"
  | "engine-closed"
  | "internal";

export interface ZiparErrorOptions {
  readonly code: ZiparErrorCode;
  /** What failed, what was expected, what was received, what to do. */
  readonly message: string;
  readonly details?: Readonly<Record<string, unknown>>;
  readonly cause?: unknown;
}

const marker = Symbol.for("zipar.error");

/** The one error class of zipar's public API. */
export class ZiparError extends Error {
  override readonly name = "ZiparError";
  readonly code: ZiparErrorCode;
  readonly details: Readonly<Record<string, unknown>>;

  constructor({ code, message, details = {}, cause }: ZiparErrorOptions) {
    super(message, cause === undefined ? undefined : { cause });
    this.code = code;
    this.details = details;
    Object.defineProperty(this, marker, { value: true });
  }

  /** Recognises errors of another installed copy of zipar too, where `instanceof` does not. */
  static is(value: unknown): value is ZiparError {
    return typeof value === "object" && value !== null && marker in value;
  }
}

/** The same error with more details. */
export function withDetails(error: ZiparError, more: ZiparError["details"]): ZiparError {
  const { code, message, details, cause } = error;
  return new ZiparError({ code, message, details: { ...details, ...more }, cause });
}

/** What was thrown, as an error of ours: anything else comes from a worker of the caller's own, or is a fault of zipar. */
export function asZiparError(cause: unknown, failed: string): ZiparError {
  if (ZiparError.is(cause)) return cause;
  return new ZiparError({ code: "internal", message: `${failed}: ${reasonOf(cause)}`, cause });
}

/** What something that was thrown says of itself: anything can be thrown. */
export function reasonOf(cause: unknown): string {
  return cause instanceof Error ? cause.message : String(cause);
}
