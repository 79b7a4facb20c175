/** What a run leaves behind: worker processes and socket directories, found by the run's own folder for temporary files. */
import { existsSync, readdirSync, readFileSync } from "node:fs";
import { setTimeout as sleep } from "node:timers/promises";

export interface Leftovers {
  /** Ids of processes. */
  readonly processes: readonly number[];
  readonly directories: readonly string[];
  readonly ms: number;
}

/**
 * Workers whose endpoint lies in `folder`, and what they have started, dead ones excluded (Linux).
 * The endpoint is on their command line, so that nothing which a worker does can hide it.
 */
export function workersIn(folder: string): readonly number[] {
  return readdirSync("/proc")
    .filter((name) => /^\d+$/.test(name))
    .filter(
      (pid) =>
        readProc(pid, "cmdline").includes(`ipc://${folder}/`) ||
        readProc(pid, "environ").split("\0").includes(`TMPDIR=${folder}`),
    )
    .filter((pid) => !/^State:\s+[ZX]/m.test(readProc(pid, "status")))
    .map(Number);
}

export function directoriesIn(folder: string): readonly string[] {
  return existsSync(folder) ? readdirSync(folder) : [];
}

/** Waits until nothing is left in `folder`, for at most `limitMs`; then tells what is, and how long it took. */
export async function leftoversOf(folder: string, limitMs: number): Promise<Leftovers> {
  const startedAt = performance.now();
  for (;;) {
    const processes = workersIn(folder);
    const directories = directoriesIn(folder);
    const ms = performance.now() - startedAt;
    if (processes.length + directories.length === 0 || ms > limitMs) return { processes, directories, ms };
    await sleep(5);
  }
}

/** Empty where the process has ended. */
function readProc(pid: string, file: string): string {
  try {
    return readFileSync(`/proc/${pid}/${file}`, "utf8");
  } catch {
    return "";
  }
}
