import { join } from "node:path";
import { fileURLToPath, pathToFileURL } from "node:url";

export const root = fileURLToPath(new URL("../..", import.meta.url));

/** A module of the built package. */
export function load(path) {
  return import(pathToFileURL(join(root, "dist", path)).href);
}
