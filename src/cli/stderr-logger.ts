import { type Logger, silentLogger } from "../logger.ts";
import { harmless } from "../protocol/harmless.ts";

/** The worker's log, for `--verbose`. */
export const stderrLogger: Logger = {
  debug: (message) => console.error(message),
  info: (message) => console.error(message),
  warn: (message) => console.error(message),
};

const told = new Set<string>();

/** What the user should know in any case, each of it once: every image of a run may have the same to say. */
export const warningLogger: Logger = {
  ...silentLogger,
  warn(message) {
    if (told.has(message)) return;
    told.add(message);
    process.stderr.write(`zipar: ${harmless(message)}\n`);
  },
};
