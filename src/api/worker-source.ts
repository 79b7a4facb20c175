import type { WorkerSource } from "../decode/worker-source.ts";
import { pythonWorker } from "../worker/local.ts";
import { remoteWorker } from "../worker/remote/source.ts";
import type { ResolvedEngineOptions } from "./engine-options.ts";

/** What the option `worker` means. */
export function workerSourceOf({ worker = pythonWorker() }: ResolvedEngineOptions): WorkerSource {
  return "listen" in worker ? remoteWorker(worker) : worker;
}
