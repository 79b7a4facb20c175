import type { Engine } from "../api/engine.ts";
import { reportImage } from "../api/image-report.ts";
import { ZiparError } from "../errors.ts";
import { onAbort, untilAborted } from "../system/abort-signal.ts";
import { apiCallError } from "./api-call-error.ts";
import type { ImageCall } from "./image-call.ts";
import type { MadeImages } from "./image-model.ts";

/** Makes the images of a call with an engine of this process. Where one fails, the others are cancelled. */
export async function makeInProcess(
  engineOf: () => Promise<Engine>,
  modelId: string,
  call: ImageCall,
): Promise<MadeImages> {
  const leaving = new AbortController();
  const unfollow = call.signal && onAbort(call.signal, () => leaving.abort());
  try {
    // Others may wait for the same engine: its start goes on.
    const engine = await untilAborted(engineOf(), leaving.signal);
    const numbers = Array.from({ length: call.imageCount }, (_, k) => k);
    const results = await Promise.all(numbers.map((k) => generate(engine, call, k, leaving.signal)));
    return {
      images: await Promise.all(results.map(({ image }) => image.encode(call.format))),
      reports: results.map((result) => ({ ...reportImage(result), size: sizeOf(result.image) })),
      promptTokens: results[0]?.stats.promptTokens ?? 0,
      imageTokens: results.reduce((sum, { stats }) => sum + stats.tokens, 0),
    };
  } catch (error) {
    leaving.abort();
    if (call.signal?.aborted) throw call.signal.reason;
    throw ZiparError.is(error) && error.code === "queue-full" ? retryable(error, modelId, call) : error;
  } finally {
    unfollow?.();
  }
}

async function generate(
  engine: Engine,
  { knobs, prompt, size, seed }: ImageCall,
  k: number,
  signal: AbortSignal,
) {
  return engine.generate({ ...knobs, prompt, size, seed: seed === undefined ? undefined : seed + k, signal });
}

function sizeOf({ width, height }: { readonly width: number; readonly height: number }) {
  return `${width}x${height}` as const;
}

/** The AI SDK tries again what is an `APICallError` that says so, and nothing else. */
function retryable(cause: ZiparError, modelId: string, { prompt, size, seed, knobs }: ImageCall): Error {
  return apiCallError({
    message: cause.message,
    url: `zipar:${modelId}`,
    requestBodyValues: { prompt, size, seed, ...knobs },
    statusCode: 429,
    isRetryable: true,
    cause,
  });
}
