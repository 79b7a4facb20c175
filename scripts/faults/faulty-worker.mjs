import { join } from "node:path";
import { load, root } from "./load.mjs";

const { localWorker } = await load("worker/local.js");

/** Small enough to be quick, tall enough for rows that open early, wait and are drafted. */
export const STUB = {
  rows: 10,
  columns: 10,
  rowEnd: "none",
  codeCount: 512,
  promptLength: 2,
  reach: 2,
  seed: 1,
};

/**
 * A worker that misbehaves as planned (`python-worker/zipar_testing/faults/plan.py`).
 * `worker` is "stub" or "demo", the checkpoint that comes with the package.
 */
export function faultyWorker(worker, plan, stub = STUB) {
  const path = worker === "stub" ? "stub" : join(root, "checkpoints", worker);
  const model = worker === "stub" ? ["--stub", JSON.stringify(stub)] : [];
  let incarnation = 0;
  return {
    open(options) {
      incarnation += 1;
      const faults = JSON.stringify({ ...plan, incarnation });
      const extra = [...model, "--faults", faults];
      return localWorker(extra, () => ({ type: "path", path }), "zipar_testing.faults").open(options);
    },
  };
}
