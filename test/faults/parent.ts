/** A program that uses zipar and dies as it is told: a `ParentPlan` as JSON. */
import process from "node:process";
import { setTimeout as sleep } from "node:timers/promises";
import { createEngine } from "#zipar/index";
import { faultyWorker } from "./faulty-worker.ts";
import type { ParentPlan } from "./parents.ts";

const { worker, phase, way, delayMs, faults }: ParentPlan = JSON.parse(process.argv[2] ?? "");
const stub = {
  rows: 40,
  columns: 40,
  rowEnd: "none",
  codeCount: 512,
  promptLength: 2,
  reach: 2,
  seed: 1,
  delayMs: 2,
} as const;

/** What happens besides ends when the program does. */
setInterval(() => {}, 1_000);
if (phase === "start") dieSoon();
const engine = await createEngine({
  worker: faultyWorker(worker, { faults }, stub),
  onProgress() {
    if (phase === "load") dieSoon();
  },
  logger: {
    debug() {},
    info() {},
    warn() {
      if (phase === "restart") dieSoon();
    },
  },
});
if (phase === "idle") {
  await engine.generate({ classLabel: 1, window: 1, image: false });
  dieSoon();
} else if (phase === "prefill") {
  engine.generate({ classLabel: 1, window: 1 });
  dieSoon();
} else {
  await decode().catch((error) => {
    if (phase !== "dispose") throw error;
  });
}

async function decode(): Promise<void> {
  for await (const event of engine.generate({ classLabel: 1, window: 1, partialImages: 3 })) {
    const isThird = event.type === "step" && event.forward === 3;
    if (isThird && phase === "dispose") engine.dispose();
    if (
      (isThird && (phase === "decode" || phase === "dispose")) ||
      (event.type === "partial-image" && phase === "decode-image")
    )
      dieSoon();
  }
}

async function dieSoon(): Promise<void> {
  await sleep(delayMs);
  switch (way) {
    case "exit":
      return process.exit(7);
    case "throw":
      setImmediate(() => {
        throw new Error("planned");
      });
      return;
    default:
      process.kill(process.pid, way);
  }
}
