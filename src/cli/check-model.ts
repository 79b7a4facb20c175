import { ZiparError } from "../errors.ts";
import { resolveModelReference, resolvePartReference } from "../worker/model-reference.ts";

/**
 * Whether the paths of a checkpoint and of its parts exist on this machine; hub ids are taken at their word.
 * @throws ZiparError `model-not-found`
 */
export function checkModel({
  model,
  vq,
  textEncoder,
}: {
  readonly model?: string | undefined;
  readonly vq?: string | undefined;
  readonly textEncoder?: string | undefined;
}): void {
  if (model !== undefined) naming("--model", () => resolveModelReference(model));
  if (vq !== undefined) naming("--vq", () => resolvePartReference(vq, "image tokenizer"));
  if (textEncoder !== undefined)
    naming("--text-encoder", () => resolvePartReference(textEncoder, "text encoder"));
}

function naming(option: string, action: () => void): void {
  try {
    action();
  } catch (cause) {
    if (!ZiparError.is(cause)) throw cause;
    const { code, message } = cause;
    throw new ZiparError({ code, message: `${option}: ${message}`, cause });
  }
}
