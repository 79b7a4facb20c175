/** A program that uses zipar and dies as it is told: `{ worker, phase, way, delayMs, faults }` as JSON. */
import process from "node:process";
import { setTimeout as sleep } from "node:timers/promises";
import { faultyWorker } from "./faulty-worker.mjs";
import { load } from "./load.mjs";

const { worker, phase, way, delayMs, faults } = JSON.parse(process.argv[2]);
const { createEngine } = await load("index.js");
const stub = {
  rows: 40,
  columns: 40,
  rowEnd: "none",
  codeCount: 512,
  promptLength: 2,
  reach: 2,
  seed: 1,
  delayMs: 2,
};

/** What happens besides ends when the program does. */
setInterval(() => {}, 1_000);
if (phase === "start") dieSoon();
const engine = await createEngine({
  worker: faultyWorker(worker, { faults }, stub),
  onProgress: () => phase === "load" && dieSoon(),
  logger: { debug() {}, info() {}, warn: () => phase === "restart" && dieSoon() },
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

async function decode() {
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

async function dieSoon() {
  await sleep(delayMs);
  switch (way) {
    case "exit":
      return process.exit(7);
    case "throw":
      return setImmediate(() => {
        throw new Error("planned");
      });
    default:
      process.kill(process.pid, way);
  }
}
