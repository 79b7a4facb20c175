import { readdirSync, readFileSync } from "node:fs";
import { join } from "node:path";
import { createInterface } from "node:readline";
import { execa } from "execa";
import { packageRoot, workerFiles } from "#zipar/python/location";

/** The interpreter that has Ray. */
const python = process.env["ZIPAR_RAY_PYTHON"];
const environment = { RAY_USAGE_STATS_ENABLED: "0", RAY_DEDUP_LOGS: "0" };

export interface Nodes {
  /** Of the cluster. */
  readonly address: string;
  /** The folder in which Ray keeps logs and sockets. */
  readonly session: string;
  /** Process ids, one for each node. */
  readonly raylets: readonly number[];
}

/** Nodes of a real Ray that are processes of this machine; see `cluster.py`. */
export interface Cluster {
  readonly nodes: Nodes;
  ask(request: { readonly add: true } | { readonly kill: number }): Promise<Nodes>;
  end(): Promise<unknown>;
}

export async function startCluster(): Promise<Cluster> {
  const child = execa(pythonWithRay(), ["-I", join(import.meta.dirname, "cluster.py")], {
    env: environment,
    stdin: "pipe",
    reject: false,
    buffer: { stdout: false, stderr: true },
  });
  const answers = createInterface({ input: child.stdout })[Symbol.asyncIterator]();
  const answer = async (): Promise<Nodes> => {
    const { value, done } = await answers.next();
    if (done) throw new Error(`the cluster ended: ${(await child).stderr}`);
    return JSON.parse(value);
  };
  const cluster = {
    nodes: await answer(),
    async ask(request: object) {
      child.stdin.write(`${JSON.stringify(request)}\n`);
      cluster.nodes = await answer();
      return cluster.nodes;
    },
    async end() {
      child.stdin.end();
      return child;
    },
  };
  return cluster;
}

/** `python -m zipar_ray`, as one types it. */
export function startDriver(cluster: Cluster, options: readonly string[]) {
  const parameters = ["-m", "zipar_ray", "--address", cluster.nodes.address, "--gpus", "0", ...options];
  const child = execa(pythonWithRay(), parameters, {
    cwd: workerFiles(packageRoot).directory,
    env: environment,
    reject: false,
    buffer: false,
    forceKillAfterDelay: false, // its workers finish their images
  });
  let said = "";
  child.stderr.setEncoding("utf8").on("data", (chunk: string) => {
    said += chunk;
  });
  return {
    said: () => said,
    ended: child.then(({ exitCode }) => exitCode),
    kill: (signal: NodeJS.Signals = "SIGKILL") => void child.kill(signal),
  };
}

/** Process ids of the workers that dial in at an endpoint, by the raylet of their node: the parent of their parent, an actor. */
export function workersByNode(endpoint: string): ReadonlyMap<number, readonly number[]> {
  const workers = new Map<number, number[]>();
  for (const pid of processIds().filter((pid) => readProc(pid, "cmdline").includes(`\0${endpoint}\0`))) {
    const raylet = parentOf(parentOf(pid));
    if (isWorker(pid)) workers.set(raylet, [...(workers.get(raylet) ?? []), pid]);
  }
  return workers;
}

/** Also of those that end just now. */
export function processIds(): readonly number[] {
  return readdirSync("/proc")
    .filter((name) => /^\d+$/.test(name))
    .map(Number);
}

/** Empty where the process has ended, or is another user's. */
export function readProc(pid: number, file: string): string {
  try {
    return readFileSync(`/proc/${pid}/${file}`, "utf8");
  } catch {
    return "";
  }
}

/** The driver has the endpoint on its command line too. */
function isWorker(pid: number): boolean {
  return readProc(pid, "cmdline").includes("\0zipar_worker\0");
}

/** 0 where the process has ended. */
function parentOf(pid: number): number {
  return Number(/^PPid:\s+(\d+)$/m.exec(readProc(pid, "status"))?.[1] ?? 0);
}

function pythonWithRay(): string {
  if (python === undefined) throw new Error("these tests are run by `npm run test:ray`");
  return python;
}
