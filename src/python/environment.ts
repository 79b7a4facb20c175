import { readFileSync } from "node:fs";
import { ZiparError } from "../errors.ts";
import {
  findCommand,
  interpreterOf,
  locateEnvironment,
  packageRoot,
  thisMachine,
  workerFiles,
} from "./location.ts";
import { readEnvironmentFacts } from "./managed/facts.ts";
import { inspectEnvironment, installManagedEnvironment } from "./managed/install.ts";
import type { SetupProgress } from "./managed/job.ts";
import { hashLock } from "./managed/requirements-lock.ts";
import { environmentState, type WantedEnvironment } from "./managed/state.ts";
import { probePython } from "./probe.ts";

export type PythonEnvironment =
  | {
      readonly installed: true;
      readonly python: string;
      /** undefined: an interpreter that the user manages. */
      readonly directory: string | undefined;
      readonly source: "ZIPAR_PYTHON" | "managed";
    }
  | {
      readonly installed: false;
      readonly directory: string | undefined;
      readonly source: "ZIPAR_PYTHON" | "managed";
      /** What is wrong and what to do, as a sentence. */
      readonly reason: string;
    };

export interface ResolveEnvironmentOptions {
  readonly variables?: NodeJS.ProcessEnv;
  readonly root?: string;
  readonly includeTestTools?: boolean;
}

/** Which Python runs the worker. Starts no process: called at every start of an engine. */
export function resolvePythonEnvironment(options: ResolveEnvironmentOptions = {}): PythonEnvironment {
  const machine = thisMachine(options.variables);
  const chosen = machine.variables.ZIPAR_PYTHON;
  if (chosen) {
    const python = findCommand(chosen, machine);
    if (python) return { installed: true, python, directory: undefined, source: "ZIPAR_PYTHON" };
    return {
      installed: false,
      directory: undefined,
      source: "ZIPAR_PYTHON",
      reason:
        `ZIPAR_PYTHON is ${JSON.stringify(chosen)}, and there is no such program. ` +
        "Set it to a Python interpreter, or unset it to use the environment that `zipar setup` makes.",
    };
  }
  const { directory, wanted } = describeManagedEnvironment(options);
  const state = environmentState(readEnvironmentFacts(directory), wanted);
  if (state.kind === "complete")
    return { installed: true, python: interpreterOf(directory), directory, source: "managed" };
  return notInstalled(directory, state.reason);
}

function notInstalled(directory: string, reason: string): PythonEnvironment {
  return {
    installed: false,
    directory,
    source: "managed",
    reason:
      `The Python environment in ${directory} cannot be used: ${reason}. ` +
      "Run `npx zipar setup` to install or mend it, or set ZIPAR_PYTHON to an interpreter of your own.",
  };
}

/** `resolvePythonEnvironment`, and for a managed environment every file in it: a second or so. */
export async function inspectPythonEnvironment(
  options: ResolveEnvironmentOptions = {},
): Promise<PythonEnvironment> {
  const environment = resolvePythonEnvironment(options);
  if (!environment.installed || environment.source === "ZIPAR_PYTHON") return environment;
  const { directory, wanted } = describeManagedEnvironment(options);
  const state = await inspectEnvironment({ directory, wanted });
  return state.kind === "complete" ? environment : notInstalled(directory, state.reason);
}

export interface InstallEnvironmentOptions extends ResolveEnvironmentOptions {
  readonly onProgress?: (progress: SetupProgress) => void;
  /** Makes the environment anew even when it is complete. */
  readonly force?: boolean;
  /** Installers draw their own progress bars on this process's terminal instead of reporting lines. */
  readonly onTerminal?: boolean;
  /** Cancels it; what was there before comes back. */
  readonly signal?: AbortSignal;
}

export interface InstalledEnvironment {
  readonly python: string;
  readonly directory: string | undefined;
  readonly source: "ZIPAR_PYTHON" | "managed";
  /** false: it was complete already. */
  readonly changed: boolean;
}

/** Makes or mends the managed environment; checks one that the user manages and leaves it as it is. */
export async function installPythonEnvironment(
  options: InstallEnvironmentOptions = {},
): Promise<InstalledEnvironment> {
  const machine = thisMachine(options.variables);
  if (machine.variables.ZIPAR_PYTHON) {
    const environment = resolvePythonEnvironment(options);
    if (!environment.installed)
      throw new ZiparError({ code: "python-environment", message: environment.reason });
    await probePython(environment.python, options.root, options.signal);
    return { python: environment.python, directory: undefined, source: "ZIPAR_PYTHON", changed: false };
  }
  const { root, directory, wanted } = describeManagedEnvironment(options);
  const changed = await installManagedEnvironment({
    directory,
    wanted,
    root,
    machine,
    files: workerFiles(root),
    force: options.force ?? false,
    onTerminal: options.onTerminal ?? false,
    signal: options.signal,
    onProgress: options.onProgress ?? (() => undefined),
  });
  return { python: interpreterOf(directory), directory, source: "managed", changed };
}

function describeManagedEnvironment({
  variables,
  root = packageRoot,
  includeTestTools,
}: ResolveEnvironmentOptions): {
  readonly root: string;
  readonly directory: string;
  readonly wanted: WantedEnvironment;
} {
  const files = workerFiles(root);
  const runLockHash = hashLock(readFileSync(files.runLock, "utf8"));
  const machine = thisMachine(variables);
  return {
    root,
    directory: locateEnvironment(root, runLockHash, machine),
    wanted: {
      runLockHash,
      testLockHash: hashLock(readFileSync(files.testLock, "utf8")),
      testTools: includeTestTools ?? false,
      torchBackend: machine.variables.UV_TORCH_BACKEND || undefined,
    },
  };
}
