import { mkdirSync, mkdtempSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { dirname, join } from "node:path";
import { afterAll, expect, test } from "vitest";
import { memoryKillCount } from "../../src/system/memory-kills.ts";

const folder = mkdtempSync(join(tmpdir(), "zipar-test-kills-"));
afterAll(() => rmSync(folder, { recursive: true }));

let machines = 0;

/** The root of a file system with these files. */
function machine(files: Readonly<Record<string, string>>): string {
  const root = join(folder, String(++machines));
  for (const [path, content] of Object.entries(files)) {
    mkdirSync(dirname(join(root, path)), { recursive: true });
    writeFileSync(join(root, path), content);
  }
  return root;
}

const EVENTS = (count: number) => `low 0\nhigh 7\nmax 9\noom 3\noom_kill ${count}\noom_group_kill 5\n`;
const FIRST = (count: number) => `oom_kill_disable 0\nunder_oom 0\noom_kill ${count}\n`;
const VMSTAT = "nr_free_pages 12\noom_kill 40\n";

test.each<[string, Readonly<Record<string, string>>, number | undefined]>([
  [
    "the own group of version 2",
    { "proc/self/cgroup": "0::/a.slice/b", "sys/fs/cgroup/a.slice/b/memory.events": EVENTS(2) },
    2,
  ],
  [
    "what a container sees as the topmost group",
    { "proc/self/cgroup": "0::/docker/1", "sys/fs/cgroup/memory.events": EVENTS(3), "proc/vmstat": VMSTAT },
    3,
  ],
  [
    "the own group of version 1",
    {
      "proc/self/cgroup": "5:cpu:/x\n4:memory:/box\n0::/",
      "sys/fs/cgroup/memory/box/memory.oom_control": FIRST(1),
      "sys/fs/cgroup/memory/memory.oom_control": FIRST(9),
    },
    1,
  ],
  [
    "the topmost group of version 1",
    {
      "proc/self/cgroup": "4:hugetlb,memory:/docker/1\n",
      "sys/fs/cgroup/memory/memory.oom_control": FIRST(4),
    },
    4,
  ],
  ["the machine, where there are no groups", { "proc/self/cgroup": "0::/", "proc/vmstat": VMSTAT }, 40],
  ["nothing, on another system", {}, undefined],
])("kills for lack of memory are counted by %s", (_, files, count) => {
  expect(memoryKillCount(machine(files))).toBe(count);
});
