/** Aborts on the first SIGINT or SIGTERM, so that the command ends cleanly; the second one ends it at once. */
export function interruptSignal(): AbortSignal {
  const controller = new AbortController();
  for (const signal of ["SIGINT", "SIGTERM"] as const) {
    process.on(signal, () => {
      if (controller.signal.aborted) process.exit(130);
      controller.abort(new Error(`interrupted by ${signal}`));
    });
  }
  return controller.signal;
}
