/**
 * `npm test`: sets everything up and runs every check of both languages, all of them even when one fails. Checks of one
 * lane run one after the other, the lanes side by side: most checks keep one core busy and no more.
 */
import { spawn } from "node:child_process";
import { join } from "node:path";
import process from "node:process";
import { fileURLToPath } from "node:url";

/**
 * @typedef {{ command: string, parameters: string[], directory?: string, isLive?: boolean }} Command
 * @typedef {{ name: string } & Command} Check
 * @typedef {(...parameters: string[]) => Command} Python a module of the worker's environment, with its parameters
 * @typedef {{ name: string, verdict: "passed" | "FAILED" | "NOT RUN", seconds: number }} Outcome
 */

const root = fileURLToPath(new URL("..", import.meta.url));
const workerDirectory = join(root, "python-worker");
/** With which a check says that this machine cannot run it. */
const NOT_RUN = 77;

const setUp = await runCheck({ name: "set-up", ...node("scripts/setup.mjs", "--no-python"), isLive: true });
summarise(setUp.verdict === "passed" ? [setUp, ...(await runLanes())] : [setUp]);

async function runLanes() {
  const python = runCheck({
    name: "set-up of Python",
    ...node("scripts/setup.mjs", "--test-tools"),
    isLive: true,
  });
  /** @param {(python: Python) => Check[]} checks */
  const withPython = async (checks) =>
    (await python).verdict === "passed" ? runInTurn(checks(await findPython())) : [];
  const lanes = [
    python.then((outcome) => [outcome]),
    runInTurn(nodeChecks()).then(async (outcomes) => [...outcomes, ...(await withPython(lastChecks))]),
    withPython(processTests),
    withPython(pythonTests),
  ];
  return (await Promise.all(lanes)).flat();
}

/** @returns {Check[]} */
function nodeChecks() {
  return [
    { name: "lint and format (Biome)", ...bin("@biomejs/biome/bin/biome", "check", "--error-on-warnings") },
    { name: "types (tsc)", ...bin("typescript/bin/tsc", "--noEmit") },
    {
      name: "types of the studio (tsc)",
      ...bin("typescript/bin/tsc", "-p", "tsconfig.studio.json", "--noEmit"),
    },
    { name: "unit tests (Vitest)", ...bin("vitest/vitest.mjs", "run", "--project", "unit") },
    { name: "unit tests on Node 24", ...node("scripts/test-on-node.mjs", "24") },
    { name: "tools (tsc)", ...bin("typescript/bin/tsc", "-p", "tsconfig.tools.json") },
    {
      name: "generated schemas are current",
      ...node(".setup/tools/scripts/generate-proto.js", "--check"),
    },
    { name: "docs site (vitepress)", ...bin("vitepress/bin/vitepress.js", "build", "docs/site") },
    {
      name: "API docs (typedoc)",
      ...node("docs/api/node_modules/typedoc/bin/typedoc"),
      directory: join(root, "docs/api"),
    },
    { name: "package (publint, attw)", ...node(".setup/tools/scripts/check-package.js", "--lint") },
    { name: "package installed elsewhere", ...node(".setup/tools/scripts/check-package.js", "--install") },
  ];
}

/** @type {(python: Python) => Check[]} */
function lastChecks(python) {
  return [
    { name: "Python types (mypy)", ...python("mypy") },
    { name: "real clients (test:clients)", ...node("scripts/test-clients.mjs") },
  ];
}

function processTests() {
  return [{ name: "process tests (Vitest)", ...bin("vitest/vitest.mjs", "run", "--project", "process") }];
}

/** @type {(python: Python) => Check[]} */
function pythonTests(python) {
  return [
    { name: "Python lint (ruff)", ...python("ruff", "check", ".") },
    { name: "Python format (ruff)", ...python("ruff", "format", "--check", ".") },
    { name: "Python tests (pytest)", ...python("pytest", "-q") },
  ];
}

/**
 * @param {Check[]} checks
 * @returns {Promise<Outcome[]>}
 */
async function runInTurn(checks) {
  /** @type {Outcome[]} */
  const outcomes = [];
  for (const check of checks) outcomes.push(await runCheck(check));
  return outcomes;
}

/**
 * @param {string} script
 * @param {string[]} parameters
 * @returns {Command}
 */
function node(script, ...parameters) {
  return { command: process.execPath, parameters: [join(root, script), ...parameters] };
}

/**
 * A program of an npm package.
 * @param {string} path
 * @param {string[]} parameters
 */
function bin(path, ...parameters) {
  return node(join("node_modules", path), ...parameters);
}

/** The environment that set-up has just made, or the user's own. */
async function findPython() {
  const { resolvePythonEnvironment } = await import("#zipar/python/environment");
  const environment = resolvePythonEnvironment({ includeTestTools: true });
  if (!environment.installed) throw new Error(environment.reason);
  const { python } = environment;
  /** @param {string[]} parameters */
  return (...parameters) => ({
    command: python,
    parameters: ["-m", ...parameters],
    directory: workerDirectory,
  });
}

/**
 * Prints what a check says once it has ended, so that lanes do not mix, or at once where it is live.
 * @param {Check} check
 * @returns {Promise<Outcome>}
 */
async function runCheck({ name, command, parameters, directory = root, isLive = false }) {
  console.log(`... ${name}`);
  const startMs = performance.now();
  const { output, exitCode } = await run(command, parameters, directory, isLive);
  const seconds = (performance.now() - startMs) / 1000;
  const verdict = exitCode === 0 ? "passed" : exitCode === NOT_RUN ? "NOT RUN" : "FAILED";
  console.log(`\n=== ${name}\n${output.trimEnd()}\n--- ${name}: ${verdict} in ${seconds.toFixed(1)} s\n`);
  return { name, verdict, seconds };
}

/**
 * @param {string} command
 * @param {string[]} parameters
 * @param {string} directory
 * @param {boolean} isLive
 * @returns {Promise<{ output: string, exitCode: number | null }>}
 */
function run(command, parameters, directory, isLive) {
  return new Promise((resolve) => {
    const child = spawn(command, parameters, {
      cwd: directory,
      stdio: ["ignore", "pipe", "pipe"],
      // Threads of PyTorch that wait for each other take time from the other lanes.
      env: { OMP_NUM_THREADS: "1", ...process.env },
    });
    let output = "";
    for (const stream of [child.stdout, child.stderr])
      stream.setEncoding("utf8").on("data", (chunk) => {
        if (isLive) process.stdout.write(chunk);
        else output += chunk;
      });
    child.once("error", (error) =>
      resolve({ output: `${command} could not be started: ${error.message}`, exitCode: null }),
    );
    child.once("close", (exitCode) => resolve({ output, exitCode }));
  });
}

/** @param {Outcome[]} outcomes */
function summarise(outcomes) {
  console.log("\n=== summary");
  for (const { name, verdict, seconds } of outcomes)
    console.log(`${verdict.padEnd(7)} ${seconds.toFixed(1).padStart(7)} s  ${name}`);
  /** @param {Outcome["verdict"]} wanted */
  const count = (wanted) => outcomes.filter(({ verdict }) => verdict === wanted).length;
  console.log(`\n${count("passed")} passed, ${count("FAILED")} failed`);
  process.exitCode = count("FAILED") === 0 ? 0 : 1;
}
