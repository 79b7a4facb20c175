import { existsSync } from "node:fs";
import { resolve } from "node:path";
import type { Backend, WorkerSource } from "../backend.ts";
import type { ResolvedEngineOptions } from "../engine-options.ts";
import { ZiparError } from "../errors.ts";
import { parseOptions } from "../options.ts";
import { type StubOptions, stubOptionsSchema } from "../stub/stub-worker.ts";
import { packageRoot, workerFiles } from "./environment-location.ts";
import { WorkerForwarder } from "./forwarder.ts";
import { resolvePythonEnvironment } from "./python-environment.ts";
import { startWorker } from "./start-worker.ts";

/** Images decoded together unless the user says how many, where the memory suffices. */
const DEFAULT_IMAGES = 8;

/** The PyTorch worker, in a process of its own. */
export function pythonWorker(): WorkerSource {
  return { open: (options) => open(options, { path: modelPath(options.model), arguments: [] }) };
}

/** The stub model in a worker process, behind the real wire. It needs Python, pyzmq and msgspec, not PyTorch. */
export function stubProcess(options: StubOptions & { delayMs?: number } = {}): WorkerSource {
  const { delayMs = 0, ...stub } = options;
  const resolved = { ...parseOptions(stubOptionsSchema, stub, "stubProcess"), delayMs };
  return {
    open: (engine) => open(engine, { path: "stub", arguments: ["--stub", JSON.stringify(resolved)] }),
  };
}

async function open(
  options: ResolvedEngineOptions,
  { path, arguments: extra }: { path: string; arguments: readonly string[] },
): Promise<Backend> {
  const environment = resolvePythonEnvironment();
  if (!environment.installed)
    throw new ZiparError({ code: "python-environment", message: environment.reason });
  const { channel, ready, pid, stop } = await startWorker({
    python: environment.python,
    workerDirectory: workerFiles().directory,
    arguments: extra,
    init: {
      model: {
        weights: { type: "path", path },
        vq: options.vq === undefined ? null : { type: "path", path: existingPath(options.vq, "VQ file") },
        textEncoder: null,
        size: options.size ?? null,
      },
      device: options.device,
      dtype: options.dtype,
      imageCount: options.maxImages ?? DEFAULT_IMAGES,
      fewerImages: options.maxImages === undefined,
    },
    startTimeoutMs: options.startTimeoutMs,
    logger: options.logger,
    onProgress: ({ phase, completed, total, unit }) =>
      options.onProgress?.({ phase, completed, total, unit }),
    signal: options.signal,
  });
  const forwarder = new WorkerForwarder(channel, ready);
  return { card: ready.card, device: ready.device, dtype: ready.dtype, forwarder, pid, stop };
}

/** `demo` is the checkpoint that comes with the package; anything else is a path. */
export function modelPath(reference: string): string {
  if (reference === "demo") return resolve(packageRoot, "checkpoints", "demo");
  return existingPath(reference, "checkpoint");
}

function existingPath(path: string, what: string): string {
  const absolute = resolve(path);
  if (existsSync(absolute)) return absolute;
  throw new ZiparError({
    code: "model-not-found",
    message: `there is no ${what} at ${absolute}; expected "demo", a checkpoint directory or a weights file`,
  });
}
