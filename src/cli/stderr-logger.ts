import type { Logger } from "../logger.ts";

/** The worker's log, for `--verbose`. */
export const stderrLogger: Logger = {
  debug: (message) => console.error(message),
  info: (message) => console.error(message),
  warn: (message) => console.error(message),
};
