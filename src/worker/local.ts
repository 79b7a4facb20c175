import type { ResolvedEngineOptions } from "../api/engine-options.ts";
import { parseOptions } from "../api/generate-options.ts";
import type { Backend, ModelDescription, WorkerSource } from "../decode/backend.ts";
import { ZiparError } from "../errors.ts";
import type { Source } from "../protocol/messages.ts";
import { resolvePythonEnvironment } from "../python/environment.ts";
import { workerFiles } from "../python/environment-location.ts";
import { type StubOptions, stubOptionsSchema } from "../stub/source.ts";
import { initRequest, loadRequest } from "./load-request.ts";
import { resolveModelReference, resolvePartReference } from "./model-reference.ts";
import { WorkerForwarder } from "./requests.ts";
import { describeModel, startWorker, type WorkerOptions } from "./start.ts";

/** The PyTorch worker, in a process of its own. */
export function pythonWorker(): WorkerSource {
  return {
    open: (options) => openPythonWorker(options, resolveModelReference(options.model), []),
    describe: (options) => describe(options, resolveModelReference(options.model), []),
  };
}

/** The stub model in a worker process, behind the real wire. It needs Python, pyzmq and msgspec, not PyTorch. */
export function stubProcess(options: StubOptions & { delayMs?: number } = {}): WorkerSource {
  const { delayMs = 0, ...stub } = options;
  const resolved = { ...parseOptions(stubOptionsSchema, stub, "stubProcess"), delayMs };
  const weights: Source = { type: "path", path: "stub" };
  const extra = ["--stub", JSON.stringify(resolved)];
  return {
    open: (engine) => openPythonWorker(engine, weights, extra),
    describe: (engine) => describe(engine, weights, extra),
  };
}

/** @internal The harness of the faults passes `--faults`. */
export async function openPythonWorker(
  options: ResolvedEngineOptions,
  weights: Source,
  extra: readonly string[],
): Promise<Backend> {
  const { channel, ready, pid, failure, stop } = await startWorker({
    ...workerOptions(options, extra),
    init: initRequest(options, loadRequest(options, weights, resolvePartReference)),
  });
  const forwarder = new WorkerForwarder(channel, ready);
  return { card: ready.card, device: ready.device, dtype: ready.dtype, forwarder, pid, failure, stop };
}

async function describe(
  options: ResolvedEngineOptions,
  weights: Source,
  extra: readonly string[],
): Promise<ModelDescription> {
  const described = await describeModel(
    workerOptions(options, extra),
    loadRequest(options, weights, resolvePartReference),
  );
  const { card, device, dtype, slotCount, cacheBytesPerImage, freeBytes } = described;
  return { card, device, dtype, weights: described.weights, slotCount, cacheBytesPerImage, freeBytes };
}

function workerOptions(options: ResolvedEngineOptions, extra: readonly string[]): WorkerOptions {
  const environment = resolvePythonEnvironment();
  if (!environment.installed)
    throw new ZiparError({ code: "python-environment", message: environment.reason });
  return {
    python: environment.python,
    workerDirectory: workerFiles().directory,
    arguments: extra,
    startTimeoutMs: options.startTimeoutMs,
    heartbeatTimeoutMs: options.heartbeatTimeoutMs,
    hangTimeoutMs: options.hangTimeoutMs,
    firstHangTimeoutMs: options.firstHangTimeoutMs,
    logger: options.logger,
    onProgress: ({ phase, completed, total, unit }) =>
      options.onProgress?.({ phase, completed, total, unit }),
    signal: options.signal,
  };
}
