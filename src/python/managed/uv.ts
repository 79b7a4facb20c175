import { existsSync } from "node:fs";
import { homedir } from "node:os";
import { join } from "node:path";
import { execa } from "execa";
import { findCommand, interpreterOf, type Machine } from "../location.ts";
import { parseLock, pinOf } from "./requirements-lock.ts";
import type { RunProgram } from "./run-program.ts";
import { parsePipConfig, pipVariables, type UvSettings, uvSettingsFromPip } from "./uv-settings.ts";

/** The first version that knows `UV_TORCH_BACKEND` and `UV_DEFAULT_INDEX`. */
const oldestUv = [0, 7, 0] as const;

/** The user's uv, when there is a recent one that works. */
export async function findUv(machine: Machine): Promise<string | undefined> {
  const path = findCommand("uv", machine);
  if (!path) return undefined;
  const outcome = await execa(path, ["--version"], { reject: false, stdin: "ignore", timeout: 30_000 });
  return !outcome.failed && isRecentUv(outcome.stdout) ? path : undefined;
}

/** Pure: reads `uv 0.9.2 (...)`. */
export function isRecentUv(output: string): boolean {
  const version = /^uv (\d+)\.(\d+)\.(\d+)/.exec(output)?.slice(1).map(Number);
  if (!version) return false;
  const difference = version.map((part, index) => part - (oldestUv[index] ?? 0)).find((part) => part !== 0);
  return (difference ?? 0) >= 0;
}

/** The uv that set-up itself put into an environment, when it is the locked one. */
export async function findOwnUv(environment: string, uvLockText: string): Promise<string | undefined> {
  const path = ownUvPath(environment);
  if (!existsSync(path)) return undefined;
  const locked = pinOf(parseLock(uvLockText), "uv").replace("uv==", "");
  const outcome = await execa(path, ["--version"], { reject: false, stdin: "ignore", timeout: 30_000 });
  return outcome.stdout?.split(" ")[1] === locked ? path : undefined;
}

/** Gets uv from PyPI into the environment, with the pip that Python brings along. */
export async function bootstrapUv(environment: string, uvLock: string, run: RunProgram): Promise<string> {
  const python = interpreterOf(environment);
  const pip = await execa(python, ["-m", "pip", "--version"], { reject: false, stdin: "ignore" });
  if (pip.failed) await run(python, ["-m", "ensurepip"]);
  await run(python, ["-m", "pip", "install", "--quiet", "--require-hashes", "--requirement", uvLock]);
  return ownUvPath(environment);
}

export function ownUvPath(environment: string): string {
  return join(environment, process.platform === "win32" ? join("Scripts", "uv.exe") : join("bin", "uv"));
}

/** Reads pip's settings for `uvSettingsFromPip`, with the pip of the Python that the environment was made from. */
export async function readUvSettings(environment: string, machine: Machine): Promise<UvSettings> {
  const quiet = { reject: false, stdin: "ignore", timeout: 30_000 } as const;
  const printBase = "import sys; print(sys._base_executable)";
  const base = await execa(interpreterOf(environment), ["-I", "-c", printBase], quiet);
  const listed = base.failed ? base : await execa(base.stdout.trim(), ["-m", "pip", "config", "list"], quiet);
  // Without pip its files are not found either; its variables are.
  const files = listed.failed ? {} : parsePipConfig(listed.stdout);
  return uvSettingsFromPip({
    pip: { ...files, ...pipVariables(machine.variables) },
    variables: machine.variables,
    uvHasConfigFile: uvConfigFiles(machine).some((path) => existsSync(path)),
    folderExists: existsSync,
  });
}

function uvConfigFiles({ platform, variables }: Machine): readonly string[] {
  const chosen = variables.UV_CONFIG_FILE ? [variables.UV_CONFIG_FILE] : [];
  if (platform === "win32")
    return [
      ...chosen,
      join(variables.APPDATA ?? homedir(), "uv", "uv.toml"),
      join(variables.PROGRAMDATA ?? "C:\\ProgramData", "uv", "uv.toml"),
    ];
  return [
    ...chosen,
    join(variables.XDG_CONFIG_HOME ?? join(homedir(), ".config"), "uv", "uv.toml"),
    "/etc/uv/uv.toml",
  ];
}
