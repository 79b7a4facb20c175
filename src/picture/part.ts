import { existsSync } from "node:fs";
import { resolve } from "node:path";
import { z } from "zod";
import { isHubReference } from "../worker/model-reference.ts";
import { plainText, toPlainText } from "./plain-text.ts";

/**
 * A part of a checkpoint as a picture names it: what everybody can fetch, or the bare name of a file or folder on the
 * machine that made it. Where it lay there is nobody's business.
 */
export const partSchema = z.union([
  z.strictObject({
    reference: plainText(512).refine(
      (text) => text === "demo" || isHubReference(text),
      'expected "demo" or a hub id',
    ),
  }),
  z.strictObject({ file: plainText(256) }),
]);

export type PicturePart = z.infer<typeof partSchema>;

/** `reference` is what an engine was given. */
export function describePart(reference: string): PicturePart {
  const isFound = reference !== "demo" && existsSync(resolve(reference));
  const { success, data } = partSchema.safeParse({ reference });
  return success && !isFound ? data : { file: toPlainText(lastName(resolve(reference)), 256) };
}

/** Of a path of any system: a remote worker may run on another one. */
export function lastName(path: string): string {
  return path.split(/[\\/]+/).findLast((name) => name !== "") ?? "/";
}

/** What a model calls itself, which may be the path that it was read from. */
export function withoutFolders(name: string): string {
  return /^([A-Za-z]:)?[\\/]/.test(name) ? lastName(name) : name;
}
