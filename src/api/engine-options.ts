import type { z } from "zod";
import type { WorkerSource } from "../decode/worker-source.ts";
import { parseOptions } from "../options/parse.ts";
import { pythonWorker } from "../worker/local.ts";
import { remoteWorker } from "../worker/remote/source.ts";
import { engineSchema } from "./engine-schema.ts";

/** It keeps nothing between starts, so that all engines may share it. */
const DEFAULT_WORKER = pythonWorker();

export type EngineOptions = z.input<typeof engineSchema>;
export type ResolvedEngineOptions = Omit<z.output<typeof engineSchema>, "worker"> & {
  readonly worker: WorkerSource;
};

/** @throws ZiparError `invalid-options` */
export function resolveEngineOptions(input: EngineOptions): ResolvedEngineOptions {
  const { worker = DEFAULT_WORKER, ...options } = parseOptions(engineSchema, input, "createEngine");
  return Object.freeze({ ...options, worker: "listen" in worker ? remoteWorker(worker) : worker });
}
