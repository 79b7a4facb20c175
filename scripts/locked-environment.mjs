/** Python environments of tests, with the packages that a lock names and nothing else. */
import { spawnSync } from "node:child_process";
import { createHash } from "node:crypto";
import { existsSync, readFileSync, rmSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import process from "node:process";

/**
 * Made anew where it was made from another lock, with uv where there is one: pip takes a minute. Resolves to its Python.
 * @param {string} directory
 * @param {string} lock
 */
export async function lockedEnvironment(directory, lock) {
  const { requirePython } = await import("#zipar/python/environment");
  const { interpreterOf, thisMachine } = await import("#zipar/python/location");
  const { findUv, ownUvPath, readUvSettings } = await import("#zipar/python/managed/uv");
  const worker = requirePython();
  const machine = thisMachine();
  const installed = interpreterOf(directory);
  const own = worker.directory === undefined ? undefined : ownUvPath(worker.directory);
  const uv = (await findUv(machine)) ?? (own !== undefined && existsSync(own) ? own : undefined);
  const settings = await readUvSettings(worker.python, machine);
  const strict = ["--quiet", "--require-hashes", "--only-binary", ":all:"];
  onceFor(lock, join(directory, "installed-from"), () => {
    console.log(`installing the Python packages of ${lock} with ${uv === undefined ? "pip" : "uv"}`);
    rmSync(directory, { recursive: true, force: true });
    if (uv === undefined) {
      run(worker.python, ["-m", "venv", directory]);
      run(installed, ["-m", "pip", "install", ...strict, "-r", lock]);
    } else {
      run(uv, ["venv", "--quiet", "--python", worker.python, directory]);
      const sync = ["pip", "sync", "--python", installed, ...strict, ...settings.parameters, lock];
      run(uv, sync, { variables: settings.variables });
    }
  });
  return installed;
}

/**
 * Runs `install` unless it was done for this very lock.
 * @param {string} lock
 * @param {string} stamp a file that says for which it was done
 * @param {() => void} install
 */
export function onceFor(lock, stamp, install) {
  const hash = createHash("sha256").update(readFileSync(lock)).digest("hex");
  if (existsSync(stamp) && readFileSync(stamp, "utf8") === hash) return;
  install();
  writeFileSync(stamp, hash);
}

/**
 * Ends this process where the program fails, with its exit code.
 * @param {string} program
 * @param {readonly string[]} parameters
 * @param {{ directory?: string, variables?: Readonly<Record<string, string | undefined>> }} surroundings
 */
export function run(program, parameters, { directory = process.cwd(), variables = {} } = {}) {
  const { status, error } = spawnSync(program, parameters, {
    cwd: directory,
    stdio: ["ignore", "inherit", "inherit"],
    env: { ...process.env, ...variables },
    // On Windows npm is a .cmd file, which only a shell runs.
    shell: process.platform === "win32" && program === "npm",
  });
  if (error) throw error;
  if (status !== 0) process.exit(status ?? 1);
}
