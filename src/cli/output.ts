import { accessSync, constants, mkdirSync, statSync, writeFileSync } from "node:fs";
import { dirname, extname, join, resolve } from "node:path";
import { imageFormatOf } from "../api/image.ts";
import { reasonOf, ZiparError } from "../errors.ts";

/**
 * The files that images go to, checked before anything is loaded: `out` with a number, or one per seed in the folder
 * `out`, which is made.
 * @throws ZiparError `image-output`
 */
export function imageFiles(out: string | undefined, count: number, seed: number): readonly string[] {
  const numbers = Array.from({ length: count }, (_, k) => k);
  if (out !== undefined && extname(out) !== "" && !isFolder(out)) {
    imageFormatOf(out);
    checkWritable(dirname(resolve(out)), out);
    const base = out.slice(0, -extname(out).length);
    return numbers.map((k) => (count === 1 ? out : `${base}-${k + 1}${extname(out)}`));
  }
  const folder = out ?? ".";
  if (out !== undefined) makeFolder(out);
  checkWritable(resolve(folder), folder);
  return numbers.map((k) => join(folder, `zipar-${seed + k}.png`));
}

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

function checkWritable(folder: string, out: string): void {
  attempt(`--out ${out}: cannot write into ${folder}`, () => {
    if (!statSync(folder).isDirectory()) throw new Error("it is not a folder");
    accessSync(folder, constants.W_OK);
  });
}

function isFolder(path: string): boolean {
  return statSync(path, { throwIfNoEntry: false })?.isDirectory() ?? false;
}

function attempt(what: string, action: () => void): void {
  try {
    action();
  } catch (cause) {
    throw new ZiparError({ code: "image-output", message: `${what} (${reasonOf(cause)})`, cause });
  }
}
