/**
 * `npm run test:clients`: real clients, in pinned versions of their own, against `zipar serve` with the demo model, and the
 * provider of zipar/ai-sdk in the AI SDK. The clients need Node 22 or newer, which an npm package brings where need be; exit
 * code 77 says that none does for this platform, and that nothing was tested.
 */
import { spawnSync } from "node:child_process";
import { createHash } from "node:crypto";
import { existsSync, readFileSync, rmSync, symlinkSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import process from "node:process";
import { fileURLToPath } from "node:url";
import { NODE_VERSIONS, nodeFromNpm } from "./node-from-npm.mjs";

const NOT_RUN = 77;
const OLDEST_MAJOR = 22;

const root = fileURLToPath(new URL("..", import.meta.url));
const clients = join(root, "test", "clients");
const node = nodeFromNpm(/** @type {string} */ (NODE_VERSIONS[24])) ?? ownNode();
if (node === undefined) {
  console.log(
    `NOT RUN: the clients need Node ${OLDEST_MAJOR} or newer, this is ${process.version}, and no npm package brings`,
  );
  console.log(
    `another one to ${process.platform}-${process.arch}. Install Node 24 yourself, and with it run \`npm run test:clients\`.`,
  );
  process.exit(NOT_RUN);
}

installNodeClients();
const python = await installPythonClients();
run(node, [join(root, "node_modules/typescript/bin/tsc"), "-p", clients]);
run(node, [join(root, "node_modules/vitest/vitest.mjs"), "run", "--root", clients], {
  ZIPAR_CLIENTS_PYTHON: python,
});

function ownNode() {
  return Number(process.versions.node.split(".")[0]) >= OLDEST_MAJOR ? process.execPath : undefined;
}

/** zipar itself is a link, as npm makes one for a folder. */
function installNodeClients() {
  const modules = join(clients, "node_modules");
  onceFor(join(clients, "package-lock.json"), join(modules, ".installed-from"), () => {
    console.log("installing the clients of Node");
    // They run on the newer Node, whichever npm installs them; `npm test` hands its own strictness down.
    run("npm", ["ci", "--ignore-scripts", "--engine-strict=false", "--loglevel=error"]);
    symlinkSync(root, join(modules, "zipar"), "junction");
  });
}

/** Into an environment of their own, with uv where there is one: pip takes a minute. Resolves to its Python. */
async function installPythonClients() {
  const { requirePython } = await import("#zipar/python/environment");
  const { interpreterOf, thisMachine } = await import("#zipar/python/location");
  const { findUv, ownUvPath, readUvSettings } = await import("#zipar/python/managed/uv");
  const worker = requirePython();
  const machine = thisMachine();
  const directory = join(clients, ".venv");
  const lock = join(clients, "python", "requirements.lock");
  const installed = interpreterOf(directory);
  const own = worker.directory === undefined ? undefined : ownUvPath(worker.directory);
  const uv = (await findUv(machine)) ?? (own !== undefined && existsSync(own) ? own : undefined);
  const settings = await readUvSettings(worker.python, machine);
  onceFor(lock, join(directory, "installed-from"), () => {
    console.log(`installing the clients of Python with ${uv === undefined ? "pip" : "uv"}`);
    rmSync(directory, { recursive: true, force: true });
    if (uv === undefined) {
      run(worker.python, ["-m", "venv", directory]);
      run(installed, [
        "-m",
        "pip",
        "install",
        "--quiet",
        "--require-hashes",
        "--only-binary",
        ":all:",
        "-r",
        lock,
      ]);
    } else {
      run(uv, ["venv", "--quiet", "--python", worker.python, directory]);
      run(
        uv,
        [
          "pip",
          "sync",
          "--quiet",
          "--python",
          installed,
          "--require-hashes",
          "--only-binary",
          ":all:",
          ...settings.parameters,
          lock,
        ],
        settings.variables,
      );
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
function onceFor(lock, stamp, install) {
  const hash = createHash("sha256").update(readFileSync(lock)).digest("hex");
  if (existsSync(stamp) && readFileSync(stamp, "utf8") === hash) return;
  install();
  writeFileSync(stamp, hash);
}

/**
 * Ends this process where the program fails, with its exit code.
 * @param {string} program
 * @param {readonly string[]} parameters
 * @param {Readonly<Record<string, string | undefined>>} variables
 */
function run(program, parameters, variables = {}) {
  const { status, error } = spawnSync(program, parameters, {
    cwd: clients,
    stdio: ["ignore", "inherit", "inherit"],
    env: { ...process.env, ...variables },
    // On Windows npm is a .cmd file, which only a shell runs.
    shell: process.platform === "win32" && program === "npm",
  });
  if (error) throw error;
  if (status !== 0) process.exit(status ?? 1);
}
