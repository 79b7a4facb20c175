import { randomUUID } from "node:crypto";
import { mkdir, mkdtemp, readFile, rename, rm, stat, utimes, writeFile } from "node:fs/promises";
import { hostname } from "node:os";
import { dirname, join } from "node:path";
import { setTimeout as sleep } from "node:timers/promises";
import { isRunning } from "../../system/is-running.ts";
import { throwIfCancelled } from "../throw-if-cancelled.ts";

const heartbeatMs = 2_000;
const silentMs = 30_000;
const pollMs = 250;

interface Owner {
  readonly host: string;
  readonly pid: number;
  /** Tells this lock from an earlier one of the same process. */
  readonly id: string;
}

/**
 * Runs `work` while no other process works on `directory`, across processes and across machines that share the folder.
 * The lock is a folder beside it. One whose owner is dead, or has been silent for long, is taken over.
 */
export async function withSetupLock<Result>(
  directory: string,
  onWait: (owner: string) => void,
  work: () => Promise<Result>,
  signal?: AbortSignal,
): Promise<Result> {
  const lock = `${directory}.lock`;
  await mkdir(dirname(lock), { recursive: true });
  const owner: Owner = { host: hostname(), pid: process.pid, id: randomUUID() };
  const ownerText = JSON.stringify(owner);
  await acquire(lock, ownerText, onWait, signal);
  const heartbeat = setInterval(() => {
    const now = new Date();
    // A lock that vanished under us is not worth ending the set-up for.
    utimes(ownerFile(lock), now, now).catch(() => undefined);
  }, heartbeatMs);
  try {
    return await work();
  } finally {
    clearInterval(heartbeat);
    await removeLock(lock, ownerText);
  }
}

async function acquire(
  lock: string,
  ownerText: string,
  onWait: (owner: string) => void,
  signal: AbortSignal | undefined,
): Promise<void> {
  for (let hasWaited = false; !(await create(lock, ownerText)); ) {
    const held = await readHolder(lock);
    // Given back while we looked.
    if (!held) continue;
    if (isAbandoned(held, Date.now(), isRunning)) {
      await removeLock(lock, held.text);
      continue;
    }
    if (!hasWaited) onWait(`process ${held.owner.pid} on ${held.owner.host}`);
    hasWaited = true;
    throwIfCancelled(signal);
    await sleep(pollMs);
  }
}

/** The folder appears with its owner's name already in it: a rename never replaces one that has content. */
async function create(lock: string, ownerText: string): Promise<boolean> {
  const prepared = await mkdtemp(`${lock}.`);
  await writeFile(ownerFile(prepared), ownerText);
  try {
    await rename(prepared, lock);
    return true;
  } catch (error) {
    await rm(prepared, { recursive: true, force: true });
    const { code } = error as NodeJS.ErrnoException;
    // The last is Windows' word for it.
    if (code === "ENOTEMPTY" || code === "EEXIST" || code === "EPERM") return false;
    throw error;
  }
}

interface Holder {
  readonly text: string;
  readonly owner: Owner;
  readonly lastSeenMs: number;
}

async function readHolder(lock: string): Promise<Holder | undefined> {
  try {
    const text = await readFile(ownerFile(lock), "utf8");
    const { mtimeMs } = await stat(ownerFile(lock));
    return { text, owner: JSON.parse(text) as Owner, lastSeenMs: mtimeMs };
  } catch (error) {
    if ((error as NodeJS.ErrnoException).code === "ENOENT") return undefined;
    throw error;
  }
}

/** Pure. A dead process of this machine is known at once, anything else by its silence. */
export function isAbandoned(
  { owner, lastSeenMs }: { readonly owner: Pick<Owner, "host" | "pid">; readonly lastSeenMs: number },
  nowMs: number,
  isOwnerAlive: (pid: number) => boolean,
): boolean {
  if (owner.host === hostname() && !isOwnerAlive(owner.pid)) return true;
  return nowMs - lastSeenMs > silentMs;
}

/** Removes the lock of that owner and no other: of several processes that try, one succeeds in renaming it. */
async function removeLock(lock: string, ownerText: string): Promise<void> {
  const aside = `${lock}.${randomUUID()}`;
  try {
    await rename(lock, aside);
  } catch {
    return;
  }
  const moved = await readFile(ownerFile(aside), "utf8").catch(() => "");
  // Another process was quicker, and this is its new lock.
  if (moved !== ownerText) await rename(aside, lock).catch(() => undefined);
  await rm(aside, { recursive: true, force: true });
}

function ownerFile(lock: string): string {
  return join(lock, "owner.json");
}
