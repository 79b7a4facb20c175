export interface ApiCallErrorFields {
  readonly message: string;
  /** What was called. */
  readonly url: string;
  readonly requestBodyValues: unknown;
  readonly statusCode?: number;
  readonly responseHeaders?: Readonly<Record<string, string>>;
  readonly responseBody?: string;
  /** Another try may succeed: the AI SDK makes it, after `retry-after` of the headers. */
  readonly isRetryable: boolean;
  /** What the reply holds. */
  readonly data?: unknown;
  readonly cause?: unknown;
}

/** `APICallError` of `@ai-sdk/provider`, to everything that asks with its `isInstance`: that goes by these symbols. */
export function apiCallError({ message, cause, ...fields }: ApiCallErrorFields): Error {
  return sdkError("AI_APICallError", message, fields, cause);
}

/** `NoSuchModelError` likewise. */
export function noSuchModelError(modelType: string, modelId: string): Error {
  const message = `zipar has no ${modelType} ${JSON.stringify(modelId)}: its models make images; expected \`imageModel\``;
  return sdkError("AI_NoSuchModelError", message, { modelType, modelId });
}

function sdkError(name: string, message: string, fields: object, cause?: unknown): Error {
  const error = Object.assign(new Error(message, cause === undefined ? {} : { cause }), { name, ...fields });
  for (const marker of ["vercel.ai.error", `vercel.ai.error.${name}`])
    Object.defineProperty(error, Symbol.for(marker), { value: true });
  return error;
}
