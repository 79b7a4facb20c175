import { readdirSync, readFileSync } from "node:fs";
import { tmpdir } from "node:os";

/** Whether a process runs; a dead one that nobody has waited for does not. */
export function isAlive(pid: number): boolean {
  try {
    process.kill(pid, 0);
  } catch {
    return false;
  }
  if (process.platform !== "linux") return true;
  try {
    return !/^State:\s+[ZX]/m.test(readFileSync(`/proc/${pid}/status`, "utf8"));
  } catch {
    return false;
  }
}

/** Direct children of a process (Linux). */
export function childrenOf(pid: number): number[] {
  try {
    const children = readFileSync(`/proc/${pid}/task/${pid}/children`, "utf8").trim();
    return children === "" ? [] : children.split(" ").map(Number);
  } catch {
    return []; // it has ended
  }
}

/** The private directories of sockets in a directory for temporary files. */
export function socketDirectories(directory = tmpdir()): string[] {
  return readdirSync(directory).filter(
    (name) => name.startsWith("zipar-") && !name.startsWith("zipar-test-"),
  );
}

/** Milliseconds until something holds; polled, and given up after `limitMs`. */
export async function msUntil(holds: () => boolean, limitMs: number): Promise<number> {
  const start = performance.now();
  while (!holds()) {
    if (performance.now() - start > limitMs) throw new Error(`still not so after ${limitMs} ms: ${holds}`);
    await new Promise((resolve) => setTimeout(resolve, 5));
  }
  return performance.now() - start;
}
