import { existsSync, readFileSync } from "node:fs";
import { setTimeout as sleep } from "node:timers/promises";
import { execa } from "execa";
import type { EngineOptions } from "#zipar/index";
import { requirePython } from "#zipar/python/environment";
import { isolatedVariables, runsModule } from "#zipar/python/isolation";
import { type TcpProxy, tcpProxy } from "../support/tcp-proxy.ts";
import { type FaultPlan, STUB } from "./faulty-worker.ts";
import type { RemotePlan } from "./types.ts";

const TOKEN = "a token of the harness";
const SIZE = 3;
const POLL_MS = 5;
/** How long one that shall leave may take beyond its time. */
const LEAVE_LIMIT_MS = 5_000;

/** Three workers that dial in; the first of them misbehaves as planned. */
export interface RemoteTeam {
  /** For an engine that they shall serve. */
  readonly engine: Pick<EngineOptions, "worker" | "onProgress">;
  /** Ends all of them; process ids of those that had been told to leave and did not, or not with exit code 0. */
  end(): Promise<readonly number[]>;
}

type Child = ReturnType<typeof startWorker>;

/** @param plan its journal says when the network splits, between the engine and the first worker alone */
export function remoteTeam(plan: FaultPlan & { readonly journal: string }, remote: RemotePlan): RemoteTeam {
  const children: Child[] = [];
  const lingering: number[] = [];
  let proxy: TcpProxy | undefined;
  let watching: Promise<void> | undefined;
  let isEnded = false;

  async function start(endpoint: string): Promise<void> {
    const port = Number(endpoint.split(":").at(-1));
    proxy = await tcpProxy(() => port);
    const first = startWorker(`tcp://127.0.0.1:${proxy.port}`, 1, plan, remote);
    children.push(first);
    for (let k = 2; k <= SIZE; k++) children.push(startWorker(endpoint, k, plan, remote));
    await struck();
    if (isEnded) return;
    if (remote.splitMs === undefined) {
      await hasLeft(first);
      if (remote.returns && !isEnded) children.push(startWorker(endpoint, SIZE + 1, plan, remote));
    } else {
      proxy.freeze();
      await sleep(remote.splitMs);
      proxy.thaw();
    }
  }

  async function struck(): Promise<void> {
    while (!isEnded && !(existsSync(plan.journal) && readFileSync(plan.journal, "utf8").includes("\n")))
      await sleep(POLL_MS);
  }

  async function hasLeft(child: Child): Promise<void> {
    const limit = sleep(1000 * remote.drain + LEAVE_LIMIT_MS, undefined, { ref: false });
    const outcome = await Promise.race([child, limit]);
    if (outcome?.exitCode !== 0) lingering.push(child.pid as number);
  }

  return {
    engine: {
      worker: { listen: "tcp://127.0.0.1:0", token: TOKEN, min: SIZE, waitTimeoutMs: 20_000 },
      onProgress({ phase }) {
        const [, endpoint] = /\bwaiting for a worker at (\S+)$/.exec(phase) ?? [];
        if (endpoint !== undefined) watching ??= start(endpoint);
      },
    },
    async end() {
      if (remote.splitMs === undefined && existsSync(plan.journal)) await watching;
      isEnded = true;
      await watching;
      for (const child of children) child.kill("SIGKILL");
      await Promise.all(children);
      proxy?.close();
      return lingering;
    },
  };
}

function startWorker(endpoint: string, incarnation: number, plan: FaultPlan, { drain }: RemotePlan) {
  const { python, source } = requirePython();
  const parameters = [
    ...["--dial", endpoint, "--with-parent", "--drain", String(drain)],
    ...["--stub", JSON.stringify(STUB), "--faults", JSON.stringify({ ...plan, incarnation })],
  ];
  return execa(python, [...runsModule("zipar_testing.faults"), ...parameters], {
    env: { ...isolatedVariables(source), ZIPAR_TOKEN: TOKEN },
    extendEnv: false,
    stdin: "pipe",
    stdout: "ignore",
    stderr: "ignore",
    reject: false,
  });
}
