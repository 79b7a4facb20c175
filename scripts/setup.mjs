/**
 * `npm run setup`: npm packages, TypeScript build and Python environment, each only where something is missing.
 * Built-ins only: it runs before anything is installed.
 */
import { spawnSync } from "node:child_process";
import { createHash } from "node:crypto";
import {
  chmodSync,
  existsSync,
  lstatSync,
  mkdirSync,
  readdirSync,
  readFileSync,
  realpathSync,
  rmSync,
  writeFileSync,
} from "node:fs";
import { join } from "node:path";
import process from "node:process";
import { fileURLToPath, pathToFileURL } from "node:url";
import { parseArgs } from "node:util";

const root = fileURLToPath(new URL("..", import.meta.url));
const builtHashFile = join(root, ".setup", "built-from");
/** What runs in browsers, then what runs in Node: modules of both come from the second. */
const BUILDS = ["tsconfig.studio.json", "tsconfig.build.json"];

const { values: flags } = parseArgs({
  options: {
    "test-tools": { type: "boolean" },
    force: { type: "boolean" },
    /** Leaves the Python environment as it is. */
    "no-python": { type: "boolean" },
  },
});
await setUp();

async function setUp() {
  installNodePackages();
  buildTypeScript();
  if (flags["no-python"]) return;
  const { runSetup } = await import(pathToFileURL(join(root, "dist", "cli", "setup.js")).href);
  try {
    process.exitCode = await runSetup({
      testTools: flags["test-tools"] ?? false,
      force: flags.force ?? false,
    });
  } catch (error) {
    fail(error instanceof Error ? error.message : String(error));
  }
}

function installNodePackages() {
  const missing = missingNodePackages();
  if (missing.length === 0) return;
  const folder = join(root, "node_modules");
  if (lstatSync(folder, { throwIfNoEntry: false })?.isSymbolicLink())
    fail(
      `node_modules is a link, and \`npm ci\` would empty ${realpathSync(folder)}; remove the link, or install there yourself`,
    );
  say(
    `installing npm packages: ${missing.length} to get (${missing.slice(0, 3).join(", ")}${missing.length > 3 ? ", ..." : ""})`,
  );
  run("npm", ["ci"], "npm ci failed; its messages are above");
}

/** What the lock lists and `node_modules` lacks, or has in another version. */
function missingNodePackages() {
  const wanted = readJson(join(root, "package-lock.json"))?.packages ?? {};
  const present = readJson(join(root, "node_modules", ".package-lock.json"))?.packages ?? {};
  return Object.entries(wanted)
    .filter(([path]) => path !== "")
    .filter(([path, { version, optional, devOptional }]) => {
      // npm leaves out optional packages that are made for other platforms.
      if (!present[path]) return !(optional || devOptional);
      return present[path].version !== version || !existsSync(join(root, path, "package.json"));
    })
    .map(([path]) => path.replace(/^.*node_modules\//, ""));
}

function buildTypeScript() {
  const hash = hashSources();
  if (readText(builtHashFile) === hash && missingOutputs().length === 0) return;
  say("building TypeScript");
  rmSync(builtHashFile, { force: true });
  // Modules whose source is gone must not end up in the package.
  rmSync(join(root, "dist"), { recursive: true, force: true });
  const compiler = join(root, "node_modules", "typescript", "bin", "tsc");
  for (const configuration of BUILDS)
    run(
      process.execPath,
      [compiler, "-p", configuration],
      "the TypeScript build failed; its errors are above",
    );
  chmodSync(join(root, "dist", "cli", "main.js"), 0o755);
  mkdirSync(join(root, ".setup"), { recursive: true });
  writeFileSync(builtHashFile, hash);
}

function hashSources() {
  const hash = createHash("sha256");
  const configuration = ["package-lock.json", "tsconfig.json", ...BUILDS];
  for (const path of [...configuration, ...sourceFiles()])
    hash
      .update(path)
      .update("\0")
      .update(readFileSync(join(root, path)));
  return hash.digest("hex");
}

function missingOutputs() {
  return sourceFiles()
    .filter((path) => path.endsWith(".ts") && !path.endsWith(".d.ts"))
    .map((path) => path.replace(/^src/, "dist").replace(/\.ts$/, ".js"))
    .filter((path) => !existsSync(join(root, path)));
}

function sourceFiles() {
  return readdirSync(join(root, "src"), { recursive: true, withFileTypes: true })
    .filter((entry) => entry.isFile())
    .map((entry) => join(entry.parentPath ?? entry.path, entry.name).slice(root.length))
    .sort();
}

/**
 * @param {string} command
 * @param {readonly string[]} parameters
 * @param {string} failure what to say where it fails
 */
function run(command, parameters, failure) {
  // On Windows npm is a .cmd file, which only a shell runs.
  const { status, error } = spawnSync(command, parameters, {
    cwd: root,
    stdio: ["ignore", 2, 2],
    shell: process.platform === "win32" && command === "npm",
  });
  if (error) fail(`${command} could not be started: ${error.message}`);
  if (status !== 0) fail(failure);
}

/** @param {string} path */
function readText(path) {
  return existsSync(path) ? readFileSync(path, "utf8") : undefined;
}

/**
 * @param {string} path
 * @returns {any} undefined where there is no file
 */
function readJson(path) {
  const text = readText(path);
  return text === undefined ? undefined : JSON.parse(text);
}

/** @param {string} message */
function say(message) {
  console.error(`setup: ${message}`);
}

/**
 * @param {string} message
 * @returns {never}
 */
function fail(message) {
  console.error(`setup failed: ${message}`);
  process.exit(1);
}
