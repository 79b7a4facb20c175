import { accessSync, constants, lstatSync, readlinkSync, statSync } from "node:fs";
import { join, resolve } from "node:path";
import { findCommand, interpreterOf, isProgram, type Machine } from "./location.ts";

export type ChosenInterpreter =
  | { readonly python: string }
  /** What is wrong with the choice and what to do, as sentences. */
  | { readonly reason: string };

/**
 * The interpreter that ZIPAR_PYTHON means: a path, a name on PATH, or the folder of a virtual environment.
 * Starts nothing.
 */
export function chosenInterpreter(chosen: string, machine: Machine): ChosenInterpreter {
  const path = expandHome(chosen, machine);
  const found = findCommand(path, machine);
  if (found !== undefined) return { python: found };
  const inFolder = interpretersIn(path, machine).find(isProgram);
  if (inFolder !== undefined) return { python: resolve(inFolder) };
  return {
    reason:
      `ZIPAR_PYTHON is ${JSON.stringify(chosen)}${path === chosen ? "" : ` (${path})`}, ${objection(path, machine)}. ` +
      "Set it to a Python interpreter or to the folder of a virtual environment, or unset it to use the environment " +
      "that `zipar setup` makes.",
  };
}

/** A shell expands `~`, but not within quotes, nor does a file of variables. */
function expandHome(path: string, { home }: Machine): string {
  return home !== undefined && /^~(?=$|[/\\])/.test(path) ? join(home, path.slice(1)) : path;
}

/** Of a virtual environment, of a conda environment on Windows, of a folder of programs. */
function interpretersIn(folder: string, { platform }: Machine): readonly string[] {
  const names = platform === "win32" ? ["python.exe"] : ["bin/python3", "python", "python3"];
  return [interpreterOf(folder, platform), ...names.map((name) => join(folder, name))];
}

function objection(path: string, machine: Machine): string {
  const state = stateOf(path);
  switch (state) {
    case "folder": {
      const broken = interpretersIn(path, machine).find((candidate) => stateOf(candidate) !== "missing");
      if (broken !== undefined) return `a folder, and ${broken} is ${describe(broken)}`;
      return `a folder without a Python (${interpretersIn(path, machine)[0]} is not there)`;
    }
    case "missing":
      if (/^~[^/\\]*/.test(path)) return "and the `~` in it is not known here: write the path in full";
      if (isCommandLine(path, machine))
        return (
          "a command with arguments, and the interpreter's own path is needed: " +
          `\`${path} -c "import sys; print(sys.executable)"\` prints it`
        );
      return "and there is no such program";
    default:
      return `which is ${describe(path)}`;
  }
}

function describe(path: string): string {
  switch (stateOf(path)) {
    case "unreachable":
      return "not to be reached: this user may not enter a folder on the way";
    case "dangling":
      return `a link to ${readlinkSync(path)}, which is gone`;
    case "folder":
      return "a folder";
    default:
      return "no program that this user may execute (its mode is not executable, or its file system is mounted noexec)";
  }
}

type PathState = "file" | "folder" | "missing" | "dangling" | "unreachable";

function stateOf(path: string): PathState {
  try {
    if (statSync(path).isDirectory()) {
      accessSync(path, constants.X_OK);
      return "folder";
    }
    return "file";
  } catch (error) {
    const { code } = error as NodeJS.ErrnoException;
    if (code === "EACCES" || code === "EPERM") return "unreachable";
    return isLink(path) ? "dangling" : "missing";
  }
}

function isLink(path: string): boolean {
  try {
    return lstatSync(path).isSymbolicLink();
  } catch {
    return false;
  }
}

/** e.g. `uv run python` */
function isCommandLine(text: string, machine: Machine): boolean {
  const [command = "", ...rest] = text.trim().split(/\s+/);
  return rest.length > 0 && (!/[/\\]/.test(command) || findCommand(command, machine) !== undefined);
}
