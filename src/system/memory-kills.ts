import { readFileSync } from "node:fs";
import { join } from "node:path";

/**
 * How many processes the kernel has ended so far for lack of memory: of the control group (container) that this process
 * is in, else of the machine. undefined where nothing tells.
 * @param root of the file system, another one in tests
 */
export function memoryKillCount(root = "/"): number | undefined {
  for (const file of [...groupFiles(root), "proc/vmstat"]) {
    const [, count] = /^oom_kill (\d+)$/m.exec(read(join(root, file))) ?? [];
    if (count !== undefined) return Number(count);
  }
  return undefined;
}

/** Where the counters lie, by version: that of the own group, then that of what a container sees as the topmost one. */
function* groupFiles(root: string): Generator<string> {
  for (const line of read(join(root, "proc/self/cgroup")).split("\n")) {
    const [, controllers = "", path = ""] = /^\d+:([^:]*):\/(.*)$/.exec(line) ?? [];
    if (line.startsWith("0::/"))
      for (const folder of [path, ""]) yield join("sys/fs/cgroup", folder, "memory.events");
    if (controllers.split(",").includes("memory"))
      for (const folder of [path, ""]) yield join("sys/fs/cgroup/memory", folder, "memory.oom_control");
  }
}

/** Empty where there is no such file. */
function read(path: string): string {
  try {
    return readFileSync(path, "utf8");
  } catch {
    return "";
  }
}
