import { parseOptions } from "../api/generate-options.ts";
import type { ModelDescription, WorkerOptions, WorkerSource } from "../decode/worker-source.ts";
import { ZiparError } from "../errors.ts";
import type { Source } from "../protocol/messages.ts";
import { resolvePythonEnvironment } from "../python/environment.ts";
import { workerFiles } from "../python/environment-location.ts";
import { type StubOptions, stubOptionsSchema } from "../stub/options.ts";
import { initRequest, loadRequest } from "./load-request.ts";
import { resolveModelReference, resolvePartReference } from "./model-reference.ts";
import { SocketWorker } from "./socket-worker.ts";
import { describeModel, type StartOptions, startWorker } from "./start.ts";

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
  options: WorkerOptions,
  weights: Source,
  extra: readonly string[],
): Promise<SocketWorker> {
  const connection = await startWorker({
    ...startOptions(options, extra),
    init: initRequest(options, loadRequest(options, weights, resolvePartReference)),
  });
  return new SocketWorker(connection);
}

async function describe(
  options: WorkerOptions,
  weights: Source,
  extra: readonly string[],
): Promise<ModelDescription> {
  const described = await describeModel(
    startOptions(options, extra),
    loadRequest(options, weights, resolvePartReference),
  );
  const { card, device, dtype, slotCount, cacheBytesPerImage, freeBytes } = described;
  return { card, device, dtype, weights: described.weights, slotCount, cacheBytesPerImage, freeBytes };
}

function startOptions(options: WorkerOptions, extra: readonly string[]): StartOptions {
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
