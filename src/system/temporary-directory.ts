import { randomBytes } from "node:crypto";
import { mkdirSync, rmdirSync, rmSync, unlinkSync } from "node:fs";
import { lstat, readdir } from "node:fs/promises";
import { connect } from "node:net";
import { tmpdir } from "node:os";
import { join, resolve } from "node:path";
import { isRunning } from "./is-running.ts";

/** What lies in a temporary directory; nothing else is ever removed. */
export const SOCKET_FILE = "w.sock";

const NAME = /^zipar-worker-(\d+)-[0-9a-f]{12}$/;
/** A younger directory may be one that is being filled. */
const YOUNG_MS = 60_000;

/** Where temporary directories may lie: the first may be missing, not to be written, or too deep for a socket's short path. */
export function temporaryFolders(): readonly string[] {
  return [...new Set([resolve(tmpdir()), "/tmp"])];
}

/** A path that nobody can guess. It names this process, for `sweepTemporaryDirectories`. */
export function temporaryPath(folder: string): string {
  return join(folder, `zipar-worker-${process.pid}-${randomBytes(6).toString("hex")}`);
}

/** Makes the directory, for this user alone. It is gone when the process exits, or when the returned function is called. */
export function makeTemporaryDirectory(path: string): () => void {
  mkdirSync(path, { mode: 0o700 });
  const remove = () => {
    process.off("exit", remove);
    rmSync(path, { recursive: true, force: true });
  };
  process.once("exit", remove);
  return remove;
}

/**
 * Removes what killed processes left behind: only directories of this user that bear our name, whose process has ended,
 * and in which nobody listens.
 */
export async function sweepTemporaryDirectories(directory: string): Promise<void> {
  const names = await readdir(directory).catch(() => []);
  for (const name of names) {
    const [, pid] = NAME.exec(name) ?? [];
    if (pid === undefined || isRunning(Number(pid))) continue;
    await sweep(join(directory, name)).catch(() => {}); // another process sweeps too
  }
}

async function sweep(path: string): Promise<void> {
  const socket = join(path, SOCKET_FILE);
  const found = await lstat(path);
  if (!found.isDirectory() || found.uid !== process.getuid?.()) return;
  const entries = await readdir(path);
  if (entries.length === 0 && Date.now() - found.mtimeMs < YOUNG_MS) return;
  if (entries.length > 0) {
    if (entries.length > 1 || entries[0] !== SOCKET_FILE) return;
    // The same number may belong to a process of another container that shares this directory.
    if (await isListening(socket)) return;
    unlinkSync(socket);
  }
  rmdirSync(path);
}

/** Whether a process accepts connections at a socket. It may do so unless the connection is refused. */
function isListening(path: string): Promise<boolean> {
  return new Promise((resolve) => {
    const socket = connect(path);
    socket.once("connect", () => resolve(true));
    socket.once("error", (error: NodeJS.ErrnoException) => resolve(error.code !== "ECONNREFUSED"));
    socket.once("connect", () => socket.destroy());
  });
}
