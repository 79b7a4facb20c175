import { join } from "node:path";
import type { StubOptions, WorkerSource } from "#zipar/index";
import { packageRoot } from "#zipar/python/location";
import { localWorker } from "#zipar/worker/local";
import type { PlannedFault, WorkerKind } from "./types.ts";

export interface FaultPlan {
  readonly faults: readonly PlannedFault[];
  /** File to which each fault appends a line of JSON as it strikes. */
  readonly journal?: string;
}

/** Small enough to be quick, tall enough for rows that open early, wait and are drafted. */
export const STUB: StubOptions = {
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
 * "demo" is the checkpoint that comes with the package, "group" the one that the engine's options name.
 */
export function faultyWorker(
  worker: WorkerKind,
  plan: FaultPlan,
  stub: StubOptions & { readonly delayMs?: number } = STUB,
): WorkerSource {
  const path = worker === "stub" ? "stub" : join(packageRoot, "checkpoints", worker);
  const model = worker === "stub" ? ["--stub", JSON.stringify(stub)] : [];
  let incarnation = 0;
  return {
    open(options) {
      incarnation += 1;
      const faults = JSON.stringify({ ...plan, incarnation });
      const extra = [...model, "--faults", faults];
      const weights = (model: string) => ({ type: "path", path: worker === "group" ? model : path }) as const;
      return localWorker(extra, weights, "zipar_testing.faults").open(options);
    },
  };
}
