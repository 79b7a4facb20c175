import { accessSync, constants, existsSync, statSync } from "node:fs";
import { homedir } from "node:os";
import { delimiter, dirname, isAbsolute, join, resolve, sep } from "node:path";
import { ownPath, packageRootOf } from "../system/own-files.ts";

/** Root of the package: the same from `src/python` and from `dist/python`. */
export const packageRoot = packageRootOf(import.meta.url);

/** Files of the Python side that set-up needs. */
export interface WorkerFiles {
  /** Holds the package `zipar_worker`. */
  readonly directory: string;
  readonly runLock: string;
  readonly testLock: string;
  readonly uvLock: string;
}

/** @throws ZiparError `python-environment` where zipar was bundled or packed without them */
export function workerFiles(root: string = packageRoot): WorkerFiles {
  const directory = ownPath(root, "python-worker");
  return {
    directory,
    runLock: join(directory, "requirements.lock"),
    testLock: join(directory, "requirements-test.lock"),
    uvLock: join(directory, "requirements-uv.lock"),
  };
}

export interface Machine {
  readonly platform: NodeJS.Platform;
  /** undefined: HOME is not set and the user has no account, or it is no absolute path. */
  readonly home: string | undefined;
  readonly variables: Readonly<Record<string, string | undefined>>;
}

export function thisMachine(variables: NodeJS.ProcessEnv = process.env): Machine {
  return { platform: process.platform, home: homeDirectory(), variables };
}

export function homeDirectory(): string | undefined {
  try {
    const home = homedir();
    return isAbsolute(home) ? home : undefined;
  } catch {
    return undefined; // HOME is not set, and the user has no account
  }
}

/**
 * A clone keeps its environment to itself; an installed package shares one with every project that has the same lock.
 * undefined: there is no cache to keep it in.
 */
export function locateEnvironment(root: string, runLockHash: string, machine: Machine): string | undefined {
  const isClone = existsSync(join(root, ".git")) || existsSync(join(root, "src"));
  // Python makes no environment in a path with a colon (on Windows a semicolon), which PATH could not hold.
  if (isClone && !root.includes(delimiter)) return join(root, "python-worker", ".venv");
  const cache = cacheDirectory(machine);
  return cache === undefined ? undefined : join(cache, `python-${runLockHash.slice(0, 16)}`);
}

/** undefined where nothing says where it is to be. */
export function cacheDirectory({ platform, home, variables }: Machine): string | undefined {
  const xdg = variables.XDG_CACHE_HOME;
  if (xdg && isAbsolute(xdg)) return join(xdg, "zipar");
  if (platform === "win32" && variables.LOCALAPPDATA) return join(variables.LOCALAPPDATA, "zipar", "Cache");
  if (home === undefined) return undefined;
  if (platform === "darwin") return join(home, "Library", "Caches", "zipar");
  if (platform === "win32") return join(home, "AppData", "Local", "zipar", "Cache");
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
      if (isProgram(candidate)) return resolve(candidate);
    }
  return undefined;
}

/** Whether this user may make a folder of that path. */
export function canWriteBelow(path: string): boolean {
  for (let folder = path; ; folder = dirname(folder)) {
    if (!existsSync(folder) && folder !== dirname(folder)) continue;
    try {
      accessSync(folder, constants.W_OK | constants.X_OK);
      return statSync(folder).isDirectory();
    } catch {
      return false;
    }
  }
}

/** A file that this user may execute. */
export function isProgram(path: string): boolean {
  try {
    accessSync(path, constants.X_OK);
    return statSync(path).isFile();
  } catch {
    return false;
  }
}
