import type { ImageReport } from "../api/image-report.ts";
import { reasonOf } from "../errors.ts";
import { type ApiCallErrorFields, apiCallError } from "./api-call-error.ts";
import { serverSentEvents } from "./server-sent-events.ts";

/** Where `zipar serve` is. */
export interface ServerAddress {
  /** Of its `/images/generations`. */
  readonly url: string;
  readonly headers: Readonly<Record<string, string>>;
  readonly fetch: typeof fetch;
}

/** The last event of a stream, in as much as it is read here. */
export interface CompletedImage {
  readonly b64_json: string;
  readonly size: `${number}x${number}`;
  readonly usage: { readonly input_tokens: number; readonly output_tokens: number };
  readonly zipar: ImageReport;
}

export interface Answer {
  readonly image: CompletedImage;
  readonly headers: Record<string, string>;
}

type Failure = (fields: Omit<ApiCallErrorFields, "url" | "requestBodyValues">) => Error;

/**
 * Asks for one image, as a stream: on it the server gives signs of life, while `fetch` and proxies give up a reply without
 * any after minutes. Rejects with an `APICallError`.
 */
export async function askServer(
  { url, headers, fetch }: ServerAddress,
  body: object,
  signal: AbortSignal,
): Promise<Answer> {
  const failure: Failure = (fields) => apiCallError({ url, requestBodyValues: body, ...fields });
  const lost = (cause: unknown) => {
    const reason = cause instanceof Error && cause.cause !== undefined ? cause.cause : cause; // `fetch failed` says nothing
    const message = `no answer of ${url}: ${reasonOf(reason)}; is \`zipar serve\` running there?`;
    return failure({ message, isRetryable: true, cause });
  };
  const sent = { method: "POST", headers: { ...headers, "content-type": "application/json" }, signal };
  const response = await fetch(url, { ...sent, body: JSON.stringify(body) }).catch((cause: unknown) => {
    throw lost(cause);
  });
  const answered = { statusCode: response.status, responseHeaders: Object.fromEntries(response.headers) };
  const isStream = /^text\/event-stream\b/.test(answered.responseHeaders["content-type"] ?? "");
  const reading = response.ok && isStream ? lastEvent(response) : response.text();
  const text = await reading.catch((cause: unknown) => {
    throw lost(cause);
  });
  const data = parsed(text);
  if (data?.type === "image_generation.completed") return { image: data, headers: answered.responseHeaders };
  throw failure({ ...answered, ...describeRefusal(response, data, url), responseBody: text, data });
}

/** The picture or the error that a stream ends with; "" where it is cut off. */
async function lastEvent({ body }: Response): Promise<string> {
  let last = "";
  for await (const text of serverSentEvents(body)) last = text;
  return last;
}

function describeRefusal({ ok, status }: Response, data: Refusal, url: string) {
  if (data?.error === undefined) {
    const message = ok
      ? `${url} did not send a whole picture`
      : `${url} answered with status ${status}, which is no reply of \`zipar serve\``;
    return { message, isRetryable: ok || status >= 500 };
  }
  const { type, message } = data.error;
  return { message, isRetryable: type === "server_error" || type === "rate_limit_error" };
}

// biome-ignore lint/suspicious/noExplicitAny: what a server sends
type Refusal = any;

function parsed(text: string): Refusal {
  try {
    return JSON.parse(text);
  } catch {
    return undefined;
  }
}
