import type { StartProgress, WorkerOptions } from "../decode/worker-source.ts";
import { asZiparError, ZiparError } from "../errors.ts";
import { onAbort } from "../system/abort-signal.ts";
import { userFunction } from "./user-function.ts";

/**
 * Starts a worker, or reads a model, under a user's options. What `onProgress` throws ends the start, and is thrown as it is.
 * @param undo for what was started before that was known
 */
export async function startUnder<Started>(
  options: WorkerOptions,
  start: (options: WorkerOptions) => Promise<Started>,
  undo: (started: Started) => Promise<void> = async () => {},
): Promise<Started> {
  const { signal: given, onProgress = () => {} } = options;
  const leaving = new AbortController();
  const unfollow = given && onAbort(given, () => leaving.abort(given.reason));
  const progress = userFunction<StartProgress>(onProgress, () => leaving.abort());
  try {
    if (given?.aborted) throw cancelled(given.reason);
    const started = await start({ ...options, onProgress: progress.call, signal: leaving.signal });
    await progress.settled();
    if (progress.failure() === undefined) return started;
    await undo(started);
  } catch (error) {
    if (progress.failure() === undefined) throw asZiparError(error, "the start failed");
  } finally {
    unfollow?.();
  }
  throw progress.failure()?.cause;
}

function cancelled(cause: unknown): ZiparError {
  return new ZiparError({ code: "cancelled", message: "starting the engine was cancelled", cause });
}
