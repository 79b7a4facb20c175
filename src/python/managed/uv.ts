import { existsSync } from "node:fs";
import { isAbsolute, join } from "node:path";
import { askProgram } from "../ask-program.ts";
import { isolatedVariables, runsOwnModule, type Variables } from "../isolation.ts";
import { canWriteBelow, findCommand, interpreterOf, type Machine } from "../location.ts";
import { parseLock, pinOf } from "./requirements-lock.ts";
import type { RunProgram } from "./run-program.ts";
import { parsePipConfig, pipVariables, type UvSettings, uvSettingsFromPip } from "./uv-settings.ts";

/** The first version that knows `UV_TORCH_BACKEND` and `UV_DEFAULT_INDEX`. */
const oldestUv = [0, 7, 0] as const;

/** The user's uv, when there is a recent one that works. */
export async function findUv(machine: Machine): Promise<string | undefined> {
  const path = findCommand("uv", machine);
  if (!path) return undefined;
  const { failed, stdout } = await askProgram(path, ["--version"], machine.variables);
  return !failed && isRecentUv(stdout) ? path : undefined;
}

/** Pure: reads `uv 0.9.2 (...)`. */
export function isRecentUv(output: string): boolean {
  const version = /^uv (\d+)\.(\d+)\.(\d+)/.exec(output)?.slice(1).map(Number);
  if (!version) return false;
  const difference = version.map((part, index) => part - (oldestUv[index] ?? 0)).find((part) => part !== 0);
  return (difference ?? 0) >= 0;
}

/** The uv that set-up itself put into an environment, when it is the locked one. */
export async function findOwnUv(
  environment: string,
  uvLockText: string,
  variables: Variables,
): Promise<string | undefined> {
  const path = ownUvPath(environment);
  if (!existsSync(path)) return undefined;
  const locked = pinOf(parseLock(uvLockText), "uv").replace("uv==", "");
  const { stdout } = await askProgram(path, ["--version"], variables);
  return stdout.split(" ")[1] === locked ? path : undefined;
}

/** Gets uv from PyPI into the environment, with the pip that Python brings along. */
export async function bootstrapUv(
  environment: string,
  uvLock: string,
  { variables }: Machine,
  run: RunProgram,
): Promise<string> {
  const python = interpreterOf(environment);
  const pip = runsOwnModule("pip");
  const found = await askProgram(python, [...pip, "--version"], isolatedVariables("managed", variables));
  if (found.failed) await run(python, runsOwnModule("ensurepip"));
  await run(python, [...pip, "install", "--quiet", "--require-hashes", "--requirement", uvLock]);
  return ownUvPath(environment);
}

export function ownUvPath(environment: string): string {
  return join(environment, process.platform === "win32" ? join("Scripts", "uv.exe") : join("bin", "uv"));
}

/** The Python that an environment was made from: it has pip where uv made the environment. */
export async function baseOf(environment: string, { variables }: Machine): Promise<string | undefined> {
  const printBase = ["-I", "-c", "import sys; print(sys._base_executable)"];
  const base = await askProgram(
    interpreterOf(environment),
    printBase,
    isolatedVariables("managed", variables),
  );
  return base.failed ? undefined : base.stdout.trim();
}

/** Reads pip's settings for `uvSettingsFromPip`, with the pip of any Python. */
export async function readUvSettings(python: string | undefined, machine: Machine): Promise<UvSettings> {
  const list = [...runsOwnModule("pip"), "config", "list"];
  const listed =
    python === undefined
      ? undefined
      : await askProgram(python, list, isolatedVariables("managed", machine.variables));
  // Without pip its files are not found either; its variables are.
  const files = listed === undefined || listed.failed ? {} : parsePipConfig(listed.stdout);
  return uvSettingsFromPip({
    pip: { ...files, ...pipVariables(machine.variables) },
    variables: machine.variables,
    uvHasConfigFile: uvConfigFiles(machine).some((path) => existsSync(path)),
    folderExists: existsSync,
  });
}

/** uv makes do without its cache where it has no place for one, if it is told to. */
export function uvCacheVariables({ platform, home, variables }: Machine): Variables {
  if (platform === "win32" || variables.UV_CACHE_DIR || variables.UV_NO_CACHE) return {};
  const xdg = variables.XDG_CACHE_HOME;
  const cache = xdg && isAbsolute(xdg) ? xdg : home === undefined ? undefined : join(home, ".cache");
  return cache !== undefined && canWriteBelow(join(cache, "uv")) ? {} : { UV_NO_CACHE: "1" };
}

function uvConfigFiles({ platform, home, variables }: Machine): readonly string[] {
  const chosen = variables.UV_CONFIG_FILE ? [variables.UV_CONFIG_FILE] : [];
  if (platform === "win32")
    return [
      ...chosen,
      ...[variables.APPDATA ?? home].flatMap((folder) => (folder ? [join(folder, "uv", "uv.toml")] : [])),
      join(variables.PROGRAMDATA ?? "C:\\ProgramData", "uv", "uv.toml"),
    ];
  const configuration = variables.XDG_CONFIG_HOME ?? (home === undefined ? undefined : join(home, ".config"));
  return [
    ...chosen,
    ...(configuration === undefined ? [] : [join(configuration, "uv", "uv.toml")]),
    "/etc/uv/uv.toml",
  ];
}
