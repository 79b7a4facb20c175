import type { Worker } from "../decode/worker.ts";
import { onAbort } from "../system/abort-signal.ts";
import type { ResolvedEngineOptions } from "./engine-options.ts";
import { invalid, placesOf } from "./places.ts";
import { startUnder } from "./start.ts";

export interface OpenedWorker {
  readonly worker: Worker;
  /** Opens another one in its place. */
  readonly open: (signal: AbortSignal) => Promise<Worker>;
}

/** Where a worker may still come. */
export interface OpenPlace {
  /** The next one, when it has come. */
  readonly coming: Promise<OpenedWorker>;
  /** The one after it, where that could not join. */
  readonly again: () => OpenPlace;
}

export interface OpenedWorkers {
  /** As many as the engine begins with. */
  readonly first: readonly OpenedWorker[];
  /** They are given up when `abandon` is called. */
  readonly later: readonly OpenPlace[];
  abandon(): void;
}

/**
 * Opens all workers of an engine at the same time, and waits for as many as it begins with. Where one of these fails to
 * start, all are stopped.
 * @throws ZiparError as `createEngine`
 */
export async function openWorkers(options: ResolvedEngineOptions): Promise<OpenedWorkers> {
  const { devices, min } = await placesOf(options);
  const abandoned = new AbortController();
  const abandon = () => abandoned.abort();
  const { signal } = options;
  const unfollow = signal === undefined ? () => {} : onAbort(signal, () => abandoned.abort(signal.reason));
  const placeOf = (device: string, k: number): OpenPlace => ({
    coming: openOne(options, device, k, devices.length, abandoned.signal),
    again: () => placeOf(device, k),
  });
  const places = devices.map(placeOf);
  const opening = places.map(({ coming }) => coming);
  try {
    const first = await firstOf(opening, min);
    const waiting = places.filter(({ coming }) => !first.some(({ promise }) => promise === coming));
    const workers = first.map(({ opened }) => opened);
    for (const opened of workers) checkAlike(workers[0] as OpenedWorker, opened);
    return { first: workers, later: waiting, abandon };
  } catch (error) {
    abandon();
    for (const outcome of await Promise.allSettled(opening))
      if (outcome.status === "fulfilled") await outcome.value.worker.stop();
    throw error;
  } finally {
    unfollow();
  }
}

async function openOne(
  options: ResolvedEngineOptions,
  device: string,
  k: number,
  count: number,
  abandoned: AbortSignal,
): Promise<OpenedWorker> {
  const own = { ...options, device, workerCount: count, onProgress: progressOf(options, k, count) };
  const open = (signal: AbortSignal) =>
    startUnder(
      { ...own, signal },
      (started) => options.worker.open(started),
      (worker) => worker.stop(),
    );
  return { worker: await open(abandoned), open };
}

/** The first `count` of some promises, in the order in which they were made. @throws what any of them fails with before */
async function firstOf(
  opening: readonly Promise<OpenedWorker>[],
  count: number,
): Promise<readonly { promise: Promise<OpenedWorker>; opened: OpenedWorker }[]> {
  const done = new Map<Promise<OpenedWorker>, OpenedWorker>();
  await new Promise<void>((resolve, reject) => {
    for (const promise of opening)
      promise.then((opened) => {
        if (done.size < count) done.set(promise, opened);
        if (done.size === count) resolve();
      }, reject);
  });
  return opening.flatMap((promise) => {
    const opened = done.get(promise);
    return opened === undefined ? [] : [{ promise, opened }];
  });
}

function progressOf({ onProgress }: ResolvedEngineOptions, k: number, count: number) {
  if (onProgress === undefined || count === 1) return onProgress;
  type Progress = Parameters<typeof onProgress>[0];
  return (progress: Progress) =>
    onProgress({ ...progress, phase: `worker ${k + 1} of ${count}: ${progress.phase}` });
}

/**
 * Any worker may go on with any image.
 * @throws ZiparError `invalid-options`
 */
export function checkAlike(first: OpenedWorker, other: OpenedWorker): void {
  const [a, b] = [first.worker, other.worker];
  const differs =
    JSON.stringify(a.card) !== JSON.stringify(b.card) ? "model" : a.dtype !== b.dtype ? "dtype" : undefined;
  if (differs === undefined) return;
  throw invalid(
    `the worker on ${b.device} has another ${differs} than the first one on ${a.device}; ` +
      "give all of them the same files, and a `dtype` that all can run",
  );
}
