import { spawn } from "node:child_process";
import { mkdtempSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import process from "node:process";
import { fileURLToPath } from "node:url";
import { type Leftovers, leftoversOf } from "./leftovers.ts";
import { type Random, randomOf } from "./random.ts";
import type { PlannedFault, WorkerKind } from "./types.ts";

const parentPath = fileURLToPath(new URL("parent.js", import.meta.url));
const PHASES = ["start", "load", "prefill", "decode", "decode-image", "idle", "restart", "dispose"] as const;
const WAYS = ["SIGKILL", "SIGKILL", "SIGSEGV", "SIGTERM", "throw", "exit"] as const;
/** A worker whose Python has not run its first line can notice nothing. */
const LEFTOVER_LIMIT_MS = 10_000;
const PARENT_LIMIT_MS = 60_000;
/** One in so many parents has loaded, or is loading, the demo checkpoint. */
const DEMO_EVERY = 10;

/** A program that dies, `delayMs` after a moment of its life. */
export interface ParentPlan {
  readonly worker: WorkerKind;
  readonly phase: (typeof PHASES)[number];
  readonly way: (typeof WAYS)[number];
  readonly delayMs: number;
  readonly faults: readonly PlannedFault[];
}

export interface Parent extends ParentPlan, Leftovers {
  /** Why nothing was tested: it died of something else. */
  readonly message: string | undefined;
}

interface ParentsOptions {
  readonly laneCount: number;
  readonly seed: number;
  /** Called as each has died. */
  onParent(parent: Parent, deadCount: number): void;
}

/** Programs that die in random phases and ways. */
export async function runParents(
  count: number,
  { laneCount, seed, onParent }: ParentsOptions,
): Promise<readonly Parent[]> {
  const folder = mkdtempSync(join(tmpdir(), "zipar-test-faults-"));
  const random = randomOf(seed);
  const planned = Array.from({ length: count }, (_, k) => planParent(k, random));
  const parents: Parent[] = [];
  const waiting = [...planned];
  try {
    await Promise.all(Array.from({ length: laneCount }, () => runLane()));
  } finally {
    rmSync(folder, { recursive: true, force: true });
  }
  return parents;

  async function runLane(): Promise<void> {
    for (let plan = waiting.shift(); plan !== undefined; plan = waiting.shift()) {
      const parent = { ...plan, ...(await runParent(plan, mkdtempSync(join(folder, "p")))) };
      parents.push(parent);
      onParent(parent, parents.length);
    }
  }
}

/** What is wrong with a parent's death, in words; empty where nothing is. */
export function complaintsOf({ processes, directories, message }: Parent): readonly string[] {
  return [
    ...processes.map((pid) => `process ${pid} left`),
    ...directories.map((name) => `directory ${name} left`),
    ...(message === undefined ? [] : [message]),
  ];
}

export interface ParentsSummary {
  readonly parents: number;
  readonly processesLeft: number;
  readonly directoriesLeft: number;
  readonly complaints: number;
  readonly goneMs: { readonly median: number; readonly largest: number };
}

export function summariseParents(parents: readonly Parent[]): ParentsSummary {
  const sum = (count: (parent: Parent) => number) =>
    parents.reduce((total, parent) => total + count(parent), 0);
  const times = parents.map(({ ms }) => ms).sort((a, b) => a - b);
  return {
    parents: parents.length,
    processesLeft: sum(({ processes }) => processes.length),
    directoriesLeft: sum(({ directories }) => directories.length),
    complaints: sum((parent) => complaintsOf(parent).length),
    goneMs: { median: times[times.length >> 1] ?? 0, largest: times.at(-1) ?? 0 },
  };
}

export function describeParents({
  parents,
  processesLeft,
  directoriesLeft,
  complaints,
  goneMs,
}: ParentsSummary): string {
  return (
    `${parents} parents died; left behind: ${processesLeft} processes, ${directoriesLeft} directories; all was gone ` +
    `after ${goneMs.median.toFixed(0)} ms (median), at most ${goneMs.largest.toFixed(0)} ms; ${complaints} unexplained`
  );
}

/** Phases and ways come in turn, so that all pairs occur; the moment within the phase is random. */
function planParent(k: number, random: Random): ParentPlan {
  const worker = k % DEMO_EVERY === DEMO_EVERY - 1 ? "demo" : "stub";
  const phase = PHASES[k % PHASES.length] as ParentPlan["phase"];
  const way = WAYS[Math.floor(k / PHASES.length) % WAYS.length] as ParentPlan["way"];
  const longest = phase === "start" ? 400 : phase === "load" && worker === "demo" ? 4_000 : 60;
  const faults: readonly PlannedFault[] = phase === "restart" ? [{ fault: "die", at: "decode", nth: 3 }] : [];
  return { worker, phase, way, delayMs: Math.floor(random.next() * longest), faults };
}

async function runParent(plan: ParentPlan, folder: string): Promise<Leftovers & Pick<Parent, "message">> {
  const environment = { ...process.env, TMPDIR: folder, OMP_NUM_THREADS: "1" };
  const child = spawn(process.execPath, [parentPath, JSON.stringify(plan)], {
    env: environment,
    stdio: ["ignore", "ignore", "pipe"],
  });
  let errors = "";
  child.stderr.setEncoding("utf8").on("data", (chunk: string) => {
    errors = (errors + chunk).slice(-2_000);
  });
  const timer = setTimeout(() => child.kill("SIGKILL"), PARENT_LIMIT_MS);
  const ended = await new Promise((resolve) => child.once("exit", (code, signal) => resolve(signal ?? code)));
  clearTimeout(timer);
  const { processes, directories, ms } = await leftoversOf(folder, LEFTOVER_LIMIT_MS);
  for (const pid of processes) process.kill(pid, "SIGKILL");
  const wanted = plan.way === "exit" ? 7 : plan.way === "throw" ? 1 : plan.way;
  const message = ended === wanted ? undefined : `ended with ${ended}, expected ${wanted}: ${errors}`;
  return { processes, directories, ms, message };
}
