/** The worker's Python, and checkpoints with random weights that it writes into `bench-output` at their first use. */
import { execFileSync } from "node:child_process";
import { existsSync, mkdirSync, renameSync } from "node:fs";
import { join } from "node:path";
import { requirePython } from "#zipar/python/environment";
import { packageRoot } from "#zipar/python/location";

export const outputFolder = join(packageRoot, "bench-output");
export const { python } = requirePython();
export const pythonEnvironment = { ...process.env, PYTHONPATH: join(packageRoot, "python-worker") };

/**
 * The checkpoint's directory within `bench-output`.
 * @param options of `zipar_testing.tiny`, without `--out`
 */
export function writeCheckpoint(name: string, options: readonly string[]): string {
  const folder = join(outputFolder, name);
  if (existsSync(folder)) return folder;
  console.error(`bench: making random weights: ${options.join(" ")}`);
  mkdirSync(outputFolder, { recursive: true });
  const unfinished = `${folder}.unfinished`;
  runPython(["-m", "zipar_testing.tiny", ...options, "--out", unfinished]);
  renameSync(unfinished, folder);
  return folder;
}

export function runPython(parameters: readonly string[]): void {
  execFileSync(python, parameters, { stdio: "inherit", env: pythonEnvironment });
}
