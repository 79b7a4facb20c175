import { ZiparError } from "../errors.ts";

/** Names that clients with a fixed list of models send; `zipar` is for those that want one and do not care. */
const STANDS_FOR_FIRST = /^(zipar|dall-e-\d|gpt-image-[\w.-]+|chatgpt-image-[\w.-]+)$/;

/**
 * The model that a request means: by its name, or the first one.
 * @throws ZiparError `model-not-found` with the names
 */
export function resolveModelName(wanted: string | undefined, names: readonly string[]): string {
  const first = names[0] as string;
  if (wanted === undefined || wanted === "") return first;
  if (names.includes(wanted)) return wanted;
  if (STANDS_FOR_FIRST.test(wanted)) return first;
  const shown = wanted.length <= 80 ? wanted : `${wanted.slice(0, 80)}...`;
  throw new ZiparError({
    code: "model-not-found",
    message: `there is no model ${JSON.stringify(shown)} here; expected one of ${names.join(", ")}`,
    details: { param: "model" },
  });
}
