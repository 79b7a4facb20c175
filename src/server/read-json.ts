import { reasonOf, ZiparError } from "../errors.ts";

/**
 * A request's body, of so many bytes at most.
 * @throws ZiparError `invalid-options`
 */
export async function readJson(request: Request, maxBytes: number): Promise<unknown> {
  const text = await readText(request, maxBytes, "application/json");
  try {
    return JSON.parse(text);
  } catch (cause) {
    throw invalid(`the body is no JSON: ${reasonOf(cause)}`, 400);
  }
}

/**
 * The same, as text. Another content type than `type` is refused: a page of another origin can send one of `application`
 * only after it has asked whether it may.
 * @throws ZiparError `invalid-options`
 */
export async function readText(
  request: Request,
  maxBytes: number,
  type: `application/${string}`,
): Promise<string> {
  const received = request.headers.get("content-type");
  if (received?.split(";")[0]?.trim().toLowerCase() !== type)
    throw invalid(`the content type is ${JSON.stringify(received)}; expected ${JSON.stringify(type)}`, 415);
  return new TextDecoder().decode(await readBytes(request, maxBytes));
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
