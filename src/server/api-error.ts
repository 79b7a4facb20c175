import { reasonOf, ZiparError, type ZiparErrorCode } from "../errors.ts";
import type { Logger } from "../logger.ts";

/** An error as OpenAI's API words it, with its HTTP status. */
export interface ApiError {
  readonly status: number;
  readonly type: "invalid_request_error" | "authentication_error" | "rate_limit_error" | "server_error";
  readonly code: string;
  readonly message: string;
  /** The field of the request that is at fault. */
  readonly param?: string | undefined;
  readonly retryAfterSeconds?: number | undefined;
}

/** What the one who asks can mend. Everything else is a failure of the server, whose details go to its log alone. */
const STATUSES: Partial<Record<ZiparErrorCode, number>> = {
  "invalid-options": 400,
  trace: 400,
  "model-not-found": 404,
  "queue-full": 429,
};

/** Failures that another try may not meet. */
const PASSING: ReadonlySet<ZiparErrorCode> = new Set(["out-of-memory", "engine-closed", "cancelled"]);
const RETRY_SECONDS = 5;

/** What a client is told of an error; of a failure of the server the log gets the rest. */
export function reportError(error: unknown, logger: Logger): ApiError {
  const described = describeError(error);
  if (described.status === 500)
    logger.warn(
      `a request failed: ${error instanceof Error ? (error.stack ?? error.message) : reasonOf(error)}`,
    );
  return described;
}

function describeError(error: unknown): ApiError {
  if (!ZiparError.is(error)) return serverError("internal", 500);
  const { code, message, details, cause } = error;
  if (code === "cancelled" && ZiparError.is(cause)) return describeError(cause);
  const {
    param,
    retryAfterSeconds = RETRY_SECONDS,
    status = STATUSES[code],
  } = details as {
    param?: string;
    retryAfterSeconds?: number;
    status?: number;
  };
  if (status === undefined) {
    return PASSING.has(code)
      ? { ...serverError(code, 503), retryAfterSeconds: RETRY_SECONDS }
      : serverError(code, 500);
  }
  const isPassing = status === 429 || status >= 500;
  return {
    status,
    type: status === 429 ? "rate_limit_error" : status >= 500 ? "server_error" : "invalid_request_error",
    code: (status === 404 ? "model_not_found" : code).replaceAll("-", "_"),
    message: message.replace(/^generate: /, ""),
    param,
    ...(isPassing ? { retryAfterSeconds } : {}),
  };
}

/** Its own words may hold paths of the server and a worker's last output. */
function serverError(code: string, status: number): ApiError {
  const message = `the server could not make the image (${code}); its log says why`;
  return { status, type: "server_error", code: code.replaceAll("-", "_"), message };
}

export function errorBody({ message, type, param, code }: ApiError) {
  return { error: { message, type, param: param ?? null, code } };
}

export function errorResponse(error: ApiError, headers: Readonly<Record<string, string>> = {}): Response {
  const { status, retryAfterSeconds } = error;
  const retry = retryAfterSeconds === undefined ? {} : { "retry-after": String(retryAfterSeconds) };
  return Response.json(errorBody(error), { status, headers: { ...headers, ...retry } });
}
