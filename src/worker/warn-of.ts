import type { Logger } from "../logger.ts";

/** Hands on what a worker wants its user to know. */
export function warnOf({ warnings }: { readonly warnings: readonly string[] }, logger: Logger): void {
  for (const warning of warnings) logger.warn(warning);
}
