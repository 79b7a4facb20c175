import { existsSync } from "node:fs";
import { homedir } from "node:os";
import { delimiter, isAbsolute, join, sep } from "node:path";
import { fileURLToPath } from "node:url";

/** Root of the package: the same from `src/python` and from `dist/python`. */
export const packageRoot = fileURLToPath(new URL("../..", import.meta.url));

/** Files of the Python side that set-up needs. */
export interface WorkerFiles {
  /** Goes into the worker's PYTHONPATH. */
  readonly directory: string;
  readonly runLock: string;
  readonly testLock: string;
  readonly uvLock: string;
}

export function workerFiles(root: string = packageRoot): WorkerFiles {
  const directory = join(root, "python-worker");
  return {
    directory,
    runLock: join(directory, "requirements.lock"),
    testLock: join(directory, "requirements-test.lock"),
    uvLock: join(directory, "requirements-uv.lock"),
  };
}

export interface Machine {
  readonly platform: NodeJS.Platform;
  readonly home: string;
  readonly variables: Readonly<Record<string, string | undefined>>;
}

export function thisMachine(variables: NodeJS.ProcessEnv = process.env): Machine {
  return { platform: process.platform, home: homedir(), variables };
}

/** A clone keeps its environment to itself; an installed package shares one with every project that has the same lock. */
export function locateEnvironment(root: string, runLockHash: string, machine: Machine): string {
  const isClone = existsSync(join(root, ".git")) || existsSync(join(root, "src"));
  if (isClone) return join(root, "python-worker", ".venv");
  return join(cacheDirectory(machine), `python-${runLockHash.slice(0, 16)}`);
}

export function cacheDirectory({ platform, home, variables }: Machine): string {
  const xdg = variables.XDG_CACHE_HOME;
  if (xdg && isAbsolute(xdg)) return join(xdg, "zipar");
  if (platform === "darwin") return join(home, "Library", "Caches", "zipar");
  if (platform === "win32")
    return join(variables.LOCALAPPDATA ?? join(home, "AppData", "Local"), "zipar", "Cache");
  return join(home, ".cache", "zipar");
}

export function interpreterOf(environment: string, platform: NodeJS.Platform = process.platform): string {
  return platform === "win32"
    ? join(environment, "Scripts", "python.exe")
    : join(environment, "bin", "python");
}

/** Where a command lies that may be a bare name, as a shell would find it. */
export function findCommand(command: string, { platform, variables }: Machine): string | undefined {
  const extensions = platform === "win32" ? ["", ".exe", ".cmd", ".bat"] : [""];
  const isPath = command.includes("/") || command.includes(sep);
  const folders = isPath
    ? [""]
    : (variables.PATH ?? variables.Path ?? "").split(delimiter).filter((folder) => folder !== "");
  for (const folder of folders)
    for (const extension of extensions) {
      const candidate = folder === "" ? command + extension : join(folder, command + extension);
      if (existsSync(candidate)) return candidate;
    }
  return undefined;
}
