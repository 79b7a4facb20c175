import { createHash } from "node:crypto";
import type { GenerationResult } from "#zipar/index";

/** Names a result by its tokens and pixels: equal digests are equal images. */
export function digestOf({ rows, columns, tokens, image }: GenerationResult): string {
  const hash = createHash("sha256").update(
    JSON.stringify([rows, columns, tokens, image.width, image.height]),
  );
  return hash.update(image.pixels).digest("hex").slice(0, 16);
}
