import { readdirSync, readFileSync, statSync } from "node:fs";
import { join } from "node:path";
import { reasonOf, ZiparError } from "../../errors.ts";
import { isCurveKey } from "./z85.ts";

/** Names in the folders that `zipar keys` makes. */
export const KEY_FILES = {
  engineFolder: "engine",
  enginePublic: "engine.public",
  engineSecret: "engine.secret",
  workerPublic: "worker.public",
  workerSecret: "worker.secret",
  /** In the engine's folder: the public keys of the workers that may dial in. */
  knownWorkers: "workers",
  token: "token",
} as const;

/** @throws ZiparError `invalid-options` where the file cannot be read or holds no key */
export function readPublicKey(path: string): string {
  return keyIn(path, readText(path));
}

/** @throws ZiparError `invalid-options`, also where others than its owner may read the file */
export function readSecretKey(path: string): string {
  return keyIn(path, readSecretText(path));
}

/** The keys of a folder of `*.public` files. */
export function readPublicKeys(folder: string): readonly string[] {
  const names = attempt(folder, () => readdirSync(folder)).filter((name) => name.endsWith(".public"));
  return names.map((name) => readPublicKey(join(folder, name)));
}

/** @throws ZiparError `invalid-options`, also where others than its owner may read the file */
export function readToken(path: string): string {
  return readSecretText(path);
}

function readSecretText(path: string): string {
  // Windows has no such modes; its files are private to the user by the rights of his folder.
  if (process.platform !== "win32") {
    const mode = attempt(path, () => statSync(path)).mode & 0o777;
    if ((mode & 0o077) !== 0) {
      throw new ZiparError({
        code: "invalid-options",
        message:
          `${path} is secret, but its mode ${mode.toString(8)} lets others at it; expected 600. ` +
          `If nobody has read it, \`chmod 600 ${path}\`; else make new keys`,
      });
    }
  }
  return readText(path);
}

function readText(path: string): string {
  return attempt(path, () => readFileSync(path, "utf8")).trim();
}

function keyIn(path: string, text: string): string {
  if (isCurveKey(text)) return text;
  throw new ZiparError({
    code: "invalid-options",
    message: `${path} holds no key: expected one line of 40 Z85 characters, as \`zipar keys\` writes it`,
  });
}

function attempt<Result>(path: string, action: () => Result): Result {
  try {
    return action();
  } catch (cause) {
    throw new ZiparError({
      code: "invalid-options",
      message: `cannot read ${path} (${reasonOf(cause)}); \`zipar keys\` makes the files of both sides`,
      cause,
    });
  }
}
