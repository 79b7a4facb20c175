import { mkdir, readFile, rename, rm, stat, utimes, writeFile } from "node:fs/promises";
import { hostname } from "node:os";
import { dirname, join } from "node:path";
import { setTimeout as sleep } from "node:timers/promises";

const heartbeatMs = 2_000;
const silentMs = 30_000;
const pollMs = 250;

interface Owner {
  readonly host: string;
  readonly pid: number;
}

/**
 * Runs `work` while no other process works on `directory`, across processes and across machines that share the folder.
 * The lock is a folder beside it. One whose owner is dead, or has been silent for long, is taken over.
 */
export async function withSetupLock<Result>(
  directory: string,
  onWait: (owner: string) => void,
  work: () => Promise<Result>,
): Promise<Result> {
  const lock = `${directory}.lock`;
  await mkdir(dirname(lock), { recursive: true });
  await acquire(lock, onWait);
  const heartbeat = setInterval(() => {
    const now = new Date();
    // A lock that vanished under us is not worth ending the set-up for.
    utimes(ownerFile(lock), now, now).catch(() => undefined);
  }, heartbeatMs);
  try {
    return await work();
  } finally {
    clearInterval(heartbeat);
    await rm(lock, { recursive: true, force: true });
  }
}

async function acquire(lock: string, onWait: (owner: string) => void): Promise<void> {
  for (let waited = false; ; waited = true) {
    if (await create(lock)) return;
    const held = await readOwner(lock);
    if (held && isAbandoned(held, Date.now(), isAlive)) {
      await removeAbandoned(lock, held.text);
      continue;
    }
    if (!waited) onWait(held?.owner ? `process ${held.owner.pid} on ${held.owner.host}` : "another process");
    await sleep(pollMs);
  }
}

async function create(lock: string): Promise<boolean> {
  try {
    await mkdir(lock);
  } catch (error) {
    if ((error as NodeJS.ErrnoException).code === "EEXIST") return false;
    throw error;
  }
  await writeFile(ownerFile(lock), JSON.stringify({ host: hostname(), pid: process.pid } satisfies Owner));
  return true;
}

interface HeldLock {
  readonly text: string;
  /** undefined while the owner has not written its name yet, or was killed before it did. */
  readonly owner: Owner | undefined;
  readonly lastSeenMs: number;
}

async function readOwner(lock: string): Promise<HeldLock | undefined> {
  const text = await readFile(ownerFile(lock), "utf8").catch(() => "");
  const seen =
    (await stat(ownerFile(lock)).catch(() => undefined)) ?? (await stat(lock).catch(() => undefined));
  if (!seen) return undefined;
  return { text, owner: text === "" ? undefined : (JSON.parse(text) as Owner), lastSeenMs: seen.mtimeMs };
}

/** Pure. A dead process of this machine is known at once, anything else by its silence. */
export function isAbandoned(
  { owner, lastSeenMs }: Omit<HeldLock, "text">,
  nowMs: number,
  isOwnerAlive: (pid: number) => boolean,
): boolean {
  if (owner?.host === hostname() && !isOwnerAlive(owner.pid)) return true;
  return nowMs - lastSeenMs > silentMs;
}

/** Of several processes that find it abandoned, one succeeds in renaming it. */
async function removeAbandoned(lock: string, ownerText: string): Promise<void> {
  const aside = `${lock}.${process.pid}`;
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

function isAlive(pid: number): boolean {
  try {
    process.kill(pid, 0);
    return true;
  } catch (error) {
    return (error as NodeJS.ErrnoException).code === "EPERM";
  }
}

function ownerFile(lock: string): string {
  return join(lock, "owner.json");
}
