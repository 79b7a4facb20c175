import { readFileSync } from "node:fs";
import { ZiparError } from "../errors.ts";
import { chosenInterpreter } from "./chosen-interpreter.ts";
import type { PythonProgram } from "./isolation.ts";
import { interpreterOf, locateEnvironment, packageRoot, thisMachine, workerFiles } from "./location.ts";
import { readEnvironmentFacts } from "./managed/facts.ts";
import { inspectEnvironment, installManagedEnvironment } from "./managed/install.ts";
import type { SetupProgress } from "./managed/job.ts";
import { hashLock } from "./managed/requirements-lock.ts";
import { environmentState, type WantedEnvironment } from "./managed/state.ts";
import { probePython } from "./probe.ts";

export interface UsablePython extends PythonProgram {
  readonly installed: true;
  /** undefined: an interpreter that the user manages. */
  readonly directory: string | undefined;
}

export type PythonEnvironment =
  | UsablePython
  | {
      readonly installed: false;
      readonly directory: string | undefined;
      readonly source: PythonProgram["source"];
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
    const found = chosenInterpreter(chosen, machine);
    return "python" in found
      ? { installed: true, python: found.python, directory: undefined, source: "ZIPAR_PYTHON" }
      : { installed: false, directory: undefined, source: "ZIPAR_PYTHON", reason: found.reason };
  }
  const { directory, wanted } = describeManagedEnvironment(options);
  if (directory === undefined) return { installed: false, directory, source: "managed", reason: NO_PLACE };
  const state = environmentState(readEnvironmentFacts(directory), wanted);
  if (state.kind === "complete")
    return { installed: true, python: interpreterOf(directory), directory, source: "managed" };
  return notInstalled(directory, state.reason);
}

/**
 * The Python that runs the worker.
 * @throws ZiparError `python-environment` where there is none
 */
export function requirePython(options: ResolveEnvironmentOptions = {}): UsablePython {
  const environment = resolvePythonEnvironment(options);
  if (environment.installed) return environment;
  throw new ZiparError({ code: "python-environment", message: environment.reason });
}

const NO_PLACE =
  "There is no place for zipar's Python environment: neither HOME nor XDG_CACHE_HOME is set to an absolute path, and " +
  "this user has no account that names a home. Set one of them to a folder that can be written and run " +
  "`npx zipar setup`, or set ZIPAR_PYTHON to an interpreter of your own.";

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
  if (directory === undefined) return environment;
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

export interface InstalledEnvironment extends PythonProgram {
  readonly directory: string | undefined;
  /** false: it was complete already. */
  readonly changed: boolean;
}

/** Makes or mends the managed environment; checks one that the user manages and leaves it as it is. */
export async function installPythonEnvironment(
  options: InstallEnvironmentOptions = {},
): Promise<InstalledEnvironment> {
  const machine = thisMachine(options.variables);
  if (machine.variables.ZIPAR_PYTHON) {
    const environment = requirePython(options);
    await probePython(environment, options.root, options.signal);
    return { python: environment.python, directory: undefined, source: "ZIPAR_PYTHON", changed: false };
  }
  const { root, directory, wanted } = describeManagedEnvironment(options);
  if (directory === undefined) throw new ZiparError({ code: "python-environment", message: NO_PLACE });
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
  readonly directory: string | undefined;
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
