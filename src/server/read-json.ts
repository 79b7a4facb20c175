import { reasonOf, ZiparError } from "../errors.ts";

/**
 * A request's body, of so many bytes at most. Another content type than JSON is refused: a page of another origin can send
 * JSON only after it has asked whether it may.
 * @throws ZiparError `invalid-options`
 */
export async function readJson(request: Request, maxBytes: number): Promise<unknown> {
  const type = request.headers.get("content-type");
  if (!/^application\/json\s*(;|$)/i.test(type ?? ""))
    throw invalid(`the content type is ${JSON.stringify(type)}; expected "application/json"`, 415);
  const text = new TextDecoder().decode(await readBytes(request, maxBytes));
  try {
    return JSON.parse(text);
  } catch (cause) {
    throw invalid(`the body is no JSON: ${reasonOf(cause)}`, 400);
  }
}

async function readBytes({ body }: Request, maxBytes: number): Promise<Uint8Array> {
  const chunks: Uint8Array[] = [];
  let byteCount = 0;
  try {
    for await (const chunk of body ?? []) {
      byteCount += chunk.byteLength;
      if (byteCount > maxBytes) break;
      chunks.push(chunk);
    }
  } catch (cause) {
    throw invalid(`the body did not arrive: ${reasonOf(cause)}`, 400);
  }
  if (byteCount <= maxBytes) return Buffer.concat(chunks);
  throw invalid(`the body is larger than ${maxBytes} bytes, which is this server's limit`, 413);
}

function invalid(message: string, status: number): ZiparError {
  return new ZiparError({ code: "invalid-options", message, details: { status } });
}
