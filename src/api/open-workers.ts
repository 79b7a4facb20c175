import type { Worker } from "../decode/worker.ts";
import { ZiparError } from "../errors.ts";
import { resolvePythonEnvironment } from "../python/environment.ts";
import { probePython } from "../python/probe.ts";
import type { ResolvedEngineOptions } from "./engine-options.ts";

export interface OpenedWorker {
  readonly worker: Worker;
  /** Opens another one in its place. */
  readonly open: (signal: AbortSignal) => Promise<Worker>;
}

/**
 * Opens all workers of an engine at the same time. Where one fails to start, the others are stopped.
 * @throws ZiparError as `createEngine`
 */
export async function openWorkers(options: ResolvedEngineOptions): Promise<readonly OpenedWorker[]> {
  const devices = await devicesOf(options);
  const { workerLimit = devices.length } = options.worker;
  if (devices.length > workerLimit)
    throw invalid(
      `this worker source opens ${workerLimit} worker at a time, and ${devices.length} were asked for`,
    );
  const failed = new AbortController();
  const signal =
    options.signal === undefined ? failed.signal : AbortSignal.any([options.signal, failed.signal]);
  const opening = devices.map(async (device, k) => {
    const own = { ...options, device, onProgress: progressOf(options, k, devices.length) };
    const open = (signal: AbortSignal) => options.worker.open({ ...own, signal });
    try {
      return { worker: await open(signal), open };
    } catch (error) {
      failed.abort(error);
      throw error;
    }
  });
  const outcomes = await Promise.allSettled(opening);
  const opened = outcomes.flatMap((outcome) => (outcome.status === "fulfilled" ? [outcome.value] : []));
  try {
    if (opened.length < devices.length) throw failed.signal.reason;
    checkAlike(opened);
    return opened;
  } catch (error) {
    await Promise.all(opened.map(({ worker }) => worker.stop()));
    throw error;
  }
}

async function devicesOf({ device, devices, workers }: ResolvedEngineOptions): Promise<readonly string[]> {
  if (devices === undefined) return new Array<string>(workers ?? 1).fill(device);
  if (workers !== undefined || device !== "auto")
    throw invalid("`devices` says how many workers there are, and where; leave `device` and `workers` out");
  return devices === "all" ? allCudaDevices() : devices;
}

async function allCudaDevices(): Promise<readonly string[]> {
  const environment = resolvePythonEnvironment();
  if (!environment.installed)
    throw new ZiparError({ code: "python-environment", message: environment.reason });
  const { cudaDevices } = await probePython(environment.python);
  if (cudaDevices.length > 0) return cudaDevices.map((_, index) => `cuda:${index}`);
  throw new ZiparError({
    code: "device",
    message: '`devices: "all"` means all CUDA devices, and PyTorch finds none; `npx zipar doctor` says why',
  });
}

function progressOf({ onProgress }: ResolvedEngineOptions, k: number, count: number) {
  if (onProgress === undefined || count === 1) return onProgress;
  type Progress = Parameters<typeof onProgress>[0];
  return (progress: Progress) =>
    onProgress({ ...progress, phase: `worker ${k + 1} of ${count}: ${progress.phase}` });
}

/** Any worker may go on with any image. */
function checkAlike(opened: readonly OpenedWorker[]): void {
  const [first, ...others] = opened.map(({ worker }) => worker);
  for (const [k, { card, dtype }] of others.entries()) {
    const differs =
      JSON.stringify(card) !== JSON.stringify(first?.card)
        ? "model"
        : dtype !== first?.dtype
          ? "dtype"
          : undefined;
    if (differs !== undefined)
      throw invalid(
        `worker ${k + 2} has another ${differs} than the first one; name one \`dtype\` that all of them can run`,
      );
  }
}

function invalid(message: string): ZiparError {
  return new ZiparError({ code: "invalid-options", message: `createEngine: ${message}` });
}
