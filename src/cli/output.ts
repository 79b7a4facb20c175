import { accessSync, constants, lstatSync, mkdirSync, type Stats, statSync } from "node:fs";
import { dirname, resolve } from "node:path";
import { ZiparError } from "../errors.ts";
import { writeFailure } from "../system/write-failure.ts";
import { writeWhole } from "../system/write-whole.ts";

/** @throws ZiparError `image-output` */
export function makeFolder(path: string): void {
  attempt(`--out ${path}: cannot make this folder`, () => mkdirSync(path, { recursive: true }));
}

/**
 * Writes a file that an option names, or one in its folder; whole or not at all.
 * @throws ZiparError `image-output`
 */
export function writeOutput(option: string, path: string, data: string | Uint8Array): Promise<void> {
  return writeWhole(path, data, `${option} ${path}: cannot write it`);
}

/**
 * Looks before anything is loaded whether files can be written, and that none of them is there, unless it may be replaced.
 * @throws ZiparError `image-output`
 */
export function checkOutputs(
  option: string,
  { folder, makesFolder, files }: Outputs,
  overwrite: boolean | undefined,
): void {
  const nearest = makesFolder ? nearestExisting(folder) : folder;
  attempt(`${option}: cannot write into ${nearest}`, () => {
    const found = look(nearest, statSync);
    if (found === undefined) throw new Error("there is no such folder; make it first");
    if (!found.isDirectory()) throw new Error("it is a file and no folder");
    accessSync(nearest, constants.W_OK | constants.X_OK);
  });
  const present = files.filter((file) => look(file, lstatSync) !== undefined);
  if (overwrite || present.length === 0) return;
  const more = present.length - LISTED_FILES;
  const listed = `${present.slice(0, LISTED_FILES).join(", ")}${more > 0 ? ` and ${more} more` : ""}`;
  throw new ZiparError({
    code: "image-output",
    message:
      `${option}: ${listed} ${present.length === 1 ? "exists" : "exist"} already; ` +
      "name another path, or add --overwrite to replace what is there",
    details: { files: present },
  });
}

const LISTED_FILES = 8;

export interface Outputs {
  readonly folder: string;
  /** The folder is made where it does not exist. */
  readonly makesFolder: boolean;
  readonly files: readonly string[];
}

/** The same for one file. */
export function checkOutput(option: string, path: string, overwrite: boolean | undefined): void {
  if (isFolder(path)) throw invalidOutput(path, "it is a folder; expected a file", option);
  const outputs = { folder: dirname(path), makesFolder: false, files: [path] };
  // What is no file, such as /dev/stderr, is written to and not replaced.
  const isStream = look(path, statSync)?.isFile() === false;
  checkOutputs(option, outputs, overwrite === true || isStream);
}

export function isFolder(path: string): boolean {
  return look(path, statSync)?.isDirectory() ?? false;
}

export function invalidOutput(path: string, problem: string, option = "--out"): ZiparError {
  return new ZiparError({ code: "image-output", message: `${option} ${path}: ${problem}` });
}

function nearestExisting(folder: string): string {
  const path = resolve(folder);
  return look(path, lstatSync) !== undefined || dirname(path) === path
    ? path
    : nearestExisting(dirname(path));
}

/** `lstatSync` finds a link that leads nowhere too: it would be replaced. */
function look(path: string, stat: typeof statSync | typeof lstatSync): Stats | undefined {
  return attempt(`cannot look for ${path}`, () => stat(path, { throwIfNoEntry: false }));
}

function attempt<Value>(what: string, action: () => Value): Value {
  try {
    return action();
  } catch (cause) {
    throw writeFailure(what, cause);
  }
}
