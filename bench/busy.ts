/** What other work on all cores does to an image of the demo checkpoint: `npm run bench -- --busy`. */
import { type ChildProcess, spawn } from "node:child_process";
import { availableParallelism } from "node:os";
import process from "node:process";
import { createEngine, type Engine } from "#zipar/index";
import { median } from "./against/figures.ts";

export interface BusyFigures {
  /** Processes that compute without end beside the worker. */
  readonly busyLoops: number;
  /** Of an image: medians. */
  readonly quietSeconds: number;
  readonly busySeconds: number;
  /** Workers that were taken for lost meanwhile. */
  readonly restarts: number;
}

const LOOPS_PER_CORE = 2;
/** Each of a quiet and a busy image. */
const ROUNDS = 5;

export async function benchBusy(): Promise<BusyFigures> {
  const busyLoops = LOOPS_PER_CORE * availableParallelism();
  await using engine = await createEngine({ model: "demo", device: "cpu", dtype: "float32" });
  await secondsOfImage(engine, 0); // warm-up
  const quiet: number[] = [];
  const busy: number[] = [];
  for (let seed = 1; seed <= ROUNDS; seed++) {
    quiet.push(await secondsOfImage(engine, seed));
    const loops = await startBusyLoops(busyLoops);
    try {
      busy.push(await secondsOfImage(engine, seed));
    } finally {
      for (const loop of loops) loop.kill("SIGKILL");
    }
    console.error(
      `bench: image ${seed} of ${ROUNDS}: quiet ${quiet.at(-1)?.toFixed(2)} s, busy ${busy.at(-1)?.toFixed(2)} s`,
    );
  }
  return { busyLoops, quietSeconds: median(quiet), busySeconds: median(busy), restarts: engine.restartCount };
}

async function secondsOfImage(engine: Engine, seed: number): Promise<number> {
  const startedAt = performance.now();
  await engine.generate({ classLabel: 1 + seed, seed });
  return (performance.now() - startedAt) / 1000;
}

/** They end with this process, however it ends. */
async function startBusyLoops(count: number): Promise<readonly ChildProcess[]> {
  const program = `process.stdout.write("."); while (process.ppid === ${process.pid});`;
  const loops = Array.from({ length: count }, () =>
    spawn(process.execPath, ["-e", program], { stdio: ["ignore", "pipe", "inherit"] }),
  );
  await Promise.all(loops.map((loop) => new Promise((resolve) => loop.stdout.once("data", resolve))));
  return loops;
}

export function describeBusy({
  busyLoops,
  quietSeconds,
  busySeconds,
  restarts,
}: BusyFigures): readonly string[] {
  return [
    `An image of the demo checkpoint, alone and beside ${busyLoops} busy loops, in turn`,
    `  alone ${quietSeconds.toFixed(2)} s, busy ${busySeconds.toFixed(2)} s: ${(busySeconds / quietSeconds).toFixed(2)}x; workers lost: ${restarts}`,
  ];
}
