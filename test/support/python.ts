import { join } from "node:path";
import { execa } from "execa";
import { resolvePythonEnvironment } from "../../src/python/environment.ts";
import { workerFiles } from "../../src/python/location.ts";

export const PACKAGE_ROOT = join(import.meta.dirname, "../..");

/** Runs the worker's Python and returns what it printed. */
export async function runPython(options: readonly string[]): Promise<string> {
  const environment = resolvePythonEnvironment();
  if (!environment.installed) throw new Error(environment.reason);
  const { stdout } = await execa(environment.python, options, {
    cwd: PACKAGE_ROOT,
    env: { PYTHONPATH: workerFiles().directory },
  });
  return stdout;
}
