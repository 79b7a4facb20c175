import type { EngineOptions } from "../api/engine-options.ts";
import { pick, type ValuesOf } from "./option.ts";
import { LOADED, type LOG } from "./options.ts";
import type { Progress } from "./progress.ts";
import { stderrLogger, warningLogger } from "./stderr-logger.ts";

/** The options of an engine that all commands with a model share. */
export function loadingOptions(
  values: Partial<ValuesOf<typeof LOADED & typeof LOG>>,
  progress: Progress,
  label = "loading",
) {
  return {
    ...pick(LOADED, values),
    logger: values.verbose ? stderrLogger : warningLogger,
    onProgress: ({ phase, completed, total, unit }) => {
      if (total !== null) progress.show(label, completed, total, `${phase} (${unit})`);
    },
  } satisfies EngineOptions;
}
