import { installPythonEnvironment } from "../python/environment.ts";
import { interruptSignal } from "./interrupt.ts";

export interface SetupOptions {
  /** One JSON object on stdout, all else on stderr. */
  readonly json?: boolean | undefined;
  /** Makes the environment anew even when it is complete. */
  readonly force?: boolean | undefined;
  readonly testTools?: boolean;
}

/** `zipar setup`: makes or mends the Python environment. Resolves to the exit code; failures reject. */
export async function runSetup({
  json = false,
  force = false,
  testTools = false,
}: SetupOptions): Promise<number> {
  const startMs = performance.now();
  const environment = await installPythonEnvironment({
    force,
    includeTestTools: testTools,
    // uv draws better bars than could be made from outside: bytes of each download.
    onTerminal: process.stderr.isTTY,
    signal: interruptSignal(),
    onProgress: ({ message }) => console.error(`setup: ${message}`),
  });
  const wallMs = Math.round(performance.now() - startMs);
  if (json) {
    const report = { ...environment, directory: environment.directory ?? null, wallMs };
    process.stdout.write(`${JSON.stringify(report)}\n`);
    return 0;
  }
  const seconds = (wallMs / 1000).toFixed(1);
  const state =
    environment.source === "ZIPAR_PYTHON"
      ? `ZIPAR_PYTHON serves: ${environment.python}`
      : environment.changed
        ? `Python environment ready in ${seconds} s: ${environment.directory}`
        : `Python environment is complete: ${environment.directory}`;
  console.error(`setup: ${state}`);
  return 0;
}
