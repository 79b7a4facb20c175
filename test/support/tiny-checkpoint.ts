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
export async function tinyCheckpoint(...options: readonly string[]): Promise<TinyCheckpoint> {
  const [checkpoint] = await tinyCheckpoints([["llamagen", ...options]]);
  return checkpoint as TinyCheckpoint;
}

const WRITE_ALL = `
import json, sys
from zipar_testing.tiny.__main__ import main
for arguments in json.loads(sys.argv[1]):
    main(arguments)
`;

/**
 * Checkpoints with random weights in official formats, each told as `[family, ...options]`, made by the worker's own
 * script: in one process, which imports the libraries once.
 */
export async function tinyCheckpoints(
  wanted: readonly (readonly string[])[],
): Promise<readonly TinyCheckpoint[]> {
  const checkpoints = wanted.map(() => {
    const directory = mkdtempSync(join(tmpdir(), "zipar-test-checkpoint-"));
    return { directory, remove: () => rmSync(directory, { recursive: true, force: true }) };
  });
  const jobs = wanted.map((options, k) => [...options, "--out", checkpoints[k]?.directory]);
  await runPython(["-c", WRITE_ALL, JSON.stringify(jobs)]);
  return checkpoints;
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
