import { randomBytes } from "node:crypto";
import { constants, rmSync, type Stats } from "node:fs";
import {
  access,
  chmod,
  chown,
  lstat,
  readlink,
  realpath,
  rename,
  rm,
  stat,
  writeFile,
} from "node:fs/promises";
import { dirname, isAbsolute, join, sep } from "node:path";
import { writeFailure } from "./write-failure.ts";

const MAX_LINKS = 40;
/** Where a file may be written and yet not be replaced: its folder is closed to us, or it is a mount of its own. */
const IRREPLACEABLE: ReadonlySet<unknown> = new Set(["EACCES", "EPERM", "EROFS", "EBUSY"]);

/** Files aside that are being written; gone when the process exits before they have their names. */
const unfinished = new Set<string>();

/**
 * Writes a file whole or not at all: aside in the same folder, then renamed, so that neither a full disk nor a kill cuts
 * it, or takes the file of that name that was there. Its permissions and owner are kept. A symbolic link stays, and the
 * file that it names is written. Devices and pipes are written as they are, and so is a file that cannot be replaced.
 * @throws ZiparError `image-output`, whose message begins with `what`
 */
export async function writeWhole(
  path: string,
  data: string | Uint8Array,
  what = `cannot write ${path}`,
): Promise<void> {
  try {
    await writeTarget(await findTarget(path), data);
  } catch (cause) {
    throw writeFailure(what, cause);
  }
}

async function writeTarget({ target, found, isPlain }: Target, data: string | Uint8Array): Promise<void> {
  if (!isPlain) return writeFile(target, data, { flag: constants.O_WRONLY | constants.O_APPEND });
  if (found !== undefined) await access(target, constants.W_OK);
  try {
    await replace(target, found, data);
  } catch (cause) {
    if (found === undefined || !IRREPLACEABLE.has((cause as NodeJS.ErrnoException).code)) throw cause;
    await writeFile(target, data, { flag: constants.O_WRONLY | constants.O_TRUNC });
  }
}

interface Target {
  /** Without the links that lead there. */
  readonly target: string;
  readonly found: Stats | undefined;
  /** A file, or nothing yet. */
  readonly isPlain: boolean;
}

async function findTarget(path: string): Promise<Target> {
  if (path.endsWith("/") || path.endsWith(sep)) throw systemError("EISDIR", "its name ends as a directory's");
  let target = path;
  for (let links = 0; links <= MAX_LINKS; links++) {
    const found = await lstat(target).catch(nothingThere);
    if (found?.isDirectory()) throw systemError("EISDIR", "it is a directory");
    if (!found?.isSymbolicLink()) return { target, found, isPlain: found?.isFile() ?? true };
    const folder = await realpath(dirname(target));
    // `/dev/stdout` and `/dev/fd/3` are open files: another one in their place is not what was opened.
    if (folder === "/dev" || folder.startsWith("/proc/")) return { target, found, isPlain: false };
    const next = await readlink(target);
    target = isAbsolute(next) ? next : `${folder}/${next}`;
  }
  throw systemError("ELOOP", "too many symbolic links");
}

async function replace(target: string, old: Stats | undefined, data: string | Uint8Array): Promise<void> {
  const name = `.zipar-${process.pid}-${randomBytes(6).toString("hex")}.partial`;
  const aside = join(dirname(target), name);
  if (unfinished.size === 0) process.once("exit", removeUnfinished);
  unfinished.add(aside);
  try {
    await writeFile(aside, data, { flag: "wx", mode: old === undefined ? 0o666 : old.mode & 0o777 });
    if (old !== undefined) await adopt(aside, old);
    await rename(aside, target);
  } catch (cause) {
    await rm(aside, { force: true }).catch(() => {}); // the first failure is the one to tell
    throw cause;
  } finally {
    unfinished.delete(aside);
    if (unfinished.size === 0) process.off("exit", removeUnfinished);
  }
}

/** Gives a file the permissions of another, and its owner where we may. */
async function adopt(path: string, { uid, gid, mode }: Stats): Promise<void> {
  const made = await stat(path);
  if (made.uid !== uid || made.gid !== gid) await chown(path, uid, gid).catch(() => {});
  await chmod(path, mode & 0o777);
}

function removeUnfinished(): void {
  for (const path of unfinished) rmSync(path, { force: true });
}

function nothingThere(cause: NodeJS.ErrnoException): undefined {
  if (cause.code !== "ENOENT") throw cause;
}

function systemError(code: string, message: string): Error {
  return Object.assign(new Error(`${code}: ${message}`), { code });
}
