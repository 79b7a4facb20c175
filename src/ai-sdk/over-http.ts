import { onAbort } from "../system/abort-signal.ts";
import { type Answer, askServer, type ServerAddress } from "./ask-server.ts";
import type { ImageCall } from "./image-call.ts";
import type { MadeImages } from "./image-model.ts";
import type { Warning } from "./specification.ts";

/** Of one call at the same time: the server bounds how many may wait. */
const REQUESTS_AT_ONCE = 8;

/** Has a server make the images of a call. Where one fails, the others are cancelled. */
export async function makeOverHttp(
  server: ServerAddress,
  modelId: string,
  call: ImageCall,
): Promise<MadeImages> {
  const given = Object.entries(call.headers).filter(([, value]) => value !== undefined);
  const headers = { ...server.headers, ...(Object.fromEntries(given) as Record<string, string>) };
  const leaving = new AbortController();
  const unfollow = call.signal && onAbort(call.signal, () => leaving.abort());
  const answers: Answer[] = [];
  let next = 0;
  const askInTurn = async () => {
    for (let k = next++; k < call.imageCount; k = next++)
      answers[k] = await askServer({ ...server, headers }, bodyOf(modelId, call, k), leaving.signal);
  };
  try {
    await Promise.all(Array.from({ length: Math.min(call.imageCount, REQUESTS_AT_ONCE) }, askInTurn));
  } catch (error) {
    leaving.abort();
    if (call.signal?.aborted) throw call.signal.reason;
    throw error;
  } finally {
    unfollow?.();
  }
  const images = answers.map(({ image }) => image);
  return {
    images: images.map(({ b64_json }) => b64_json),
    reports: images.map(({ zipar, size }) => ({ ...zipar, size })),
    promptTokens: images[0]?.usage.input_tokens ?? 0,
    imageTokens: images.reduce((sum, { usage }) => sum + usage.output_tokens, 0),
    headers: answers[0]?.headers,
    warnings: sizeWarnings(call, images[0]?.size),
  };
}

function bodyOf(model: string, { prompt, size, seed, knobs, format }: ImageCall, k: number) {
  return {
    model,
    prompt,
    size: sizeText(size),
    output_format: format,
    stream: true,
    zipar: { ...knobs, seed: seed === undefined ? undefined : seed + k },
  };
}

/** Some servers take the nearest size in the place of one that a model does not know. */
function sizeWarnings({ size }: ImageCall, made: string | undefined): readonly Warning[] {
  if (typeof size !== "object" || made === sizeText(size)) return [];
  return [{ type: "unsupported", feature: "size", details: `${made} in its place, which is nearest` }];
}

function sizeText(size: ImageCall["size"]): string | undefined {
  return typeof size === "object" ? `${size.width}x${size.height}` : size;
}
