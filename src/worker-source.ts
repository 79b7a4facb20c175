import type { WorkerSource } from "./backend.ts";
import type { ResolvedEngineOptions } from "./engine-options.ts";
import { pythonWorker } from "./worker/python-worker.ts";
import { remoteWorker } from "./worker/remote/remote-worker.ts";

/** What the option `worker` means. */
export function workerSourceOf({ worker = pythonWorker() }: ResolvedEngineOptions): WorkerSource {
  return "listen" in worker ? remoteWorker(worker) : worker;
}
