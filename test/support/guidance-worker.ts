import type { ForwardStep, Worker } from "../../src/decode/worker.ts";
import type { WorkerSource } from "../../src/decode/worker-source.ts";
import type { QueryResult } from "../../src/schedule/step-outcome.ts";

/** A worker whose forwards are written down, and which may be made to run all branches all along. */
export interface GuidanceWorker {
  readonly source: WorkerSource;
  /** Per forward, per image in it: its branches, and whether it rebuilds them. */
  readonly forwards: (readonly { readonly branches: readonly number[]; readonly rebuilds: boolean }[])[];
  /** Runs every branch in every forward, at a guidance scale of 1 where the engine leaves branches out. */
  runsAll: boolean;
}

export function guidanceWorker(source: WorkerSource, branchCount: number): GuidanceWorker {
  const worker: GuidanceWorker = {
    source: { open: async (options) => watch(await source.open(options), worker, branchCount) },
    forwards: [],
    runsAll: false,
  };
  return worker;
}

function watch(watched: Worker, worker: GuidanceWorker, branchCount: number): Worker {
  const all = Array.from({ length: branchCount }, (_, branch) => branch);
  const forward = watched.forward.bind(watched);
  watched.forward = async (steps) => {
    worker.forwards.push(
      steps.map((step) => ({ branches: step.branches ?? all, rebuilds: isRebuild(step) })),
    );
    if (!worker.runsAll) return forward(steps);
    return steps.some(isRebuild) ? steps.map(nothing) : forward(steps.map((step) => inFull(step, all)));
  };
  return watched;
}

function inFull(step: ForwardStep, branches: readonly number[]): ForwardStep {
  const isGuided = step.branches?.length === branches.length;
  const guidanceScale = isGuided ? step.sampling.guidanceScale : 1;
  return { ...step, branches, sampling: { ...step.sampling, guidanceScale } };
}

/** Only what rebuilds K/V draws nothing at all. */
function isRebuild({ plan }: ForwardStep): boolean {
  return plan.queries.every(({ want }) => want.type === "none");
}

function nothing({ plan }: ForwardStep): readonly QueryResult[] {
  return plan.queries.map(() => undefined);
}
