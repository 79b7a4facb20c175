import { type ChildProcess, fork } from "node:child_process";
import { mkdtempSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import process from "node:process";
import { fileURLToPath } from "node:url";
import type { Observed, Task } from "./types.ts";

const lanePath = fileURLToPath(new URL("lane.js", import.meta.url));

export interface LaneOptions<AnyTask extends Task> {
  readonly laneCount: number;
  /** Called as tasks end. */
  onEnd(task: AnyTask, observed: Observed): void;
}

interface Lane {
  run(task: Task): Promise<Observed>;
  end(): void;
}

/**
 * Runs tasks, an iterable that may be made as it goes, in `laneCount` processes. One that takes longer than its `limitMs`
 * is "hung", one that takes its process along has "crashed"; either gets a new process for the tasks after it.
 */
export async function runInLanes<AnyTask extends Task>(
  tasks: Iterable<AnyTask>,
  { laneCount, onEnd }: LaneOptions<AnyTask>,
): Promise<void> {
  const folder = mkdtempSync(join(tmpdir(), "zipar-test-faults-"));
  const waiting = tasks[Symbol.iterator]();
  try {
    await Promise.all(Array.from({ length: laneCount }, () => runLane()));
  } finally {
    rmSync(folder, { recursive: true, force: true });
  }

  async function runLane(): Promise<void> {
    let lane: Lane | undefined;
    for (let next = waiting.next(); !next.done; next = waiting.next()) {
      lane ??= await startLane(folder);
      const observed = await lane.run(next.value);
      if (observed.lost !== undefined) lane = undefined;
      onEnd(next.value, observed);
    }
    lane?.end();
  }
}

async function startLane(folder: string): Promise<Lane> {
  const environment = { ...process.env, TMPDIR: folder, OMP_NUM_THREADS: "1" };
  const child = fork(lanePath, { env: environment, stdio: ["ignore", "ignore", "pipe", "ipc"] });
  let errors = "";
  child.stderr?.setEncoding("utf8").on("data", (chunk: string) => {
    errors = (errors + chunk).slice(-4_000);
  });
  await new Promise<unknown>((resolve, reject) => {
    child.once("message", resolve);
    child.once("exit", () => reject(new Error(`a lane did not start: ${errors}`)));
  });
  return { run: (task) => runTask(child, task, () => errors), end: () => child.disconnect() };
}

function runTask(child: ChildProcess, { limitMs, ...task }: Task, errors: () => string): Promise<Observed> {
  return new Promise((resolve) => {
    const timer = setTimeout(() => {
      end({ lost: "hung" });
      child.kill("SIGKILL");
    }, limitMs);
    const onMessage = (message: unknown) => end((message as { observed: Observed }).observed);
    const onExit = (code: number | null, signal: string | null) =>
      end({ lost: "crashed", message: `${signal ?? code}: ${errors()}` });
    child.once("message", onMessage);
    child.once("exit", onExit);
    child.send(task);

    function end(observed: Partial<Observed>): void {
      clearTimeout(timer);
      child.off("message", onMessage);
      child.off("exit", onExit);
      resolve({
        outcomes: [],
        restartCount: 0,
        strikes: [],
        notices: [],
        processes: [],
        directories: [],
        ...observed,
      });
    }
  });
}
