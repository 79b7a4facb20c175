import { mkdtempSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { execa } from "execa";
import { resolvePythonEnvironment } from "../../src/python/environment.ts";
import { workerVariables } from "../../src/python/worker-variables.ts";

export const PACKAGE_ROOT = join(import.meta.dirname, "../..");

export interface TinyCheckpoint {
  readonly directory: string;
  remove(): void;
}

/** A LlamaGen checkpoint with random weights, e.g. `--rows 8 --columns 8`. */
export function tinyCheckpoint(...options: readonly string[]): Promise<TinyCheckpoint> {
  return tinyCheckpointOf("llamagen", ...options);
}

/** A checkpoint of a family with random weights in its official format, made by the worker's own script. */
export async function tinyCheckpointOf(
  family: string,
  ...options: readonly string[]
): Promise<TinyCheckpoint> {
  const directory = mkdtempSync(join(tmpdir(), "zipar-test-checkpoint-"));
  await runPython(["-m", "zipar_testing.tiny", family, "--out", directory, ...options]);
  return { directory, remove: () => rmSync(directory, { recursive: true, force: true }) };
}

/** Runs the worker's Python and returns what it printed. */
export async function runPython(options: readonly string[]): Promise<string> {
  const environment = resolvePythonEnvironment();
  if (!environment.installed) throw new Error(environment.reason);
  const { stdout } = await execa(environment.python, options, {
    cwd: PACKAGE_ROOT,
    env: workerVariables(),
  });
  return stdout;
}
