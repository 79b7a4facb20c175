/** What an engine says of the threads of its workers. */
export interface ThreadOptions {
  /** `"auto"` leaves it to the worker, which looks at its machine. */
  readonly threads?: "auto" | number | undefined;
  /** Workers that share the machine; undefined: one. */
  readonly workerCount?: number | undefined;
}

/** The environment variables that tell a worker. */
export function threadVariables({ threads, workerCount = 1 }: ThreadOptions): Record<string, string> {
  if (typeof threads === "number") return { OMP_NUM_THREADS: String(threads) };
  return workerCount > 1 ? { ZIPAR_WORKER_COUNT: String(workerCount) } : {};
}
