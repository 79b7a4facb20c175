import { mkdirSync, writeFileSync } from "node:fs";
import { ZiparError } from "../errors.ts";

/** @throws ZiparError `image-output` */
export function makeFolder(path: string): void {
  attempt(`--out ${path}: cannot make this folder`, () => mkdirSync(path, { recursive: true }));
}

/**
 * Writes a file that an option names.
 * @throws ZiparError `image-output`
 */
export function writeOutput(option: string, path: string, data: string | Uint8Array): void {
  attempt(`${option} ${path}: cannot write it`, () => writeFileSync(path, data));
}

function attempt(what: string, action: () => void): void {
  try {
    action();
  } catch (cause) {
    const reason = cause instanceof Error ? cause.message : String(cause);
    throw new ZiparError({ code: "image-output", message: `${what} (${reason})`, cause });
  }
}
