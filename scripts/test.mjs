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
 * @typedef {{ name: string, verdict: "passed" | "FAILED" | "NOT RUN", seconds: number }} Outcome
 */

const root = fileURLToPath(new URL("..", import.meta.url));
const workerDirectory = join(root, "python-worker");
/** With which a check says that this machine cannot run it. */
const NOT_RUN = 77;

summarise(
  await runAfter({ name: "set-up", ...node("scripts/setup.mjs", "--no-python"), isLive: true }, runAll),
);

function runAll() {
  const python = { name: "set-up of Python", ...node("scripts/setup.mjs", "--test-tools"), isLive: true };
  return runLanes([
    () => runLane(nodeChecks()),
    () =>
      runAfter(python, async () => runLanes((await pythonLanes()).map((checks) => () => runLane(checks)))),
  ]);
}

/** @returns {Check[]} */
function nodeChecks() {
  return [
    { name: "lint and format (Biome)", ...bin("@biomejs/biome/bin/biome", "check", "--error-on-warnings") },
    { name: "types (tsc)", ...bin("typescript/bin/tsc", "--noEmit") },
    { name: "unit tests (Vitest)", ...bin("vitest/vitest.mjs", "run", "--project", "unit") },
    { name: "unit tests on Node 22", ...node("scripts/test-on-node.mjs", "22") },
    { name: "unit tests on Node 24", ...node("scripts/test-on-node.mjs", "24") },
    { name: "tools (tsc)", ...bin("typescript/bin/tsc", "-p", "tsconfig.tools.json") },
    {
      name: "generated schemas are current",
      ...node(".setup/tools/scripts/generate-proto.js", "--check"),
    },
    {
      name: "API docs (typedoc)",
      ...node("docs/api/node_modules/typedoc/bin/typedoc"),
      directory: join(root, "docs/api"),
    },
    { name: "package (publint, attw)", ...node(".setup/tools/scripts/check-package.js", "--lint") },
    { name: "package installed elsewhere", ...node(".setup/tools/scripts/check-package.js", "--install") },
  ];
}

/** @returns {Promise<Check[][]>} */
async function pythonLanes() {
  const python = await findPython();
  return [
    [{ name: "process tests (Vitest)", ...bin("vitest/vitest.mjs", "run", "--project", "process") }],
    [
      { name: "Python lint (ruff)", ...python("ruff", "check", ".") },
      { name: "Python format (ruff)", ...python("ruff", "format", "--check", ".") },
      { name: "Python types (mypy)", ...python("mypy") },
      { name: "Python tests (pytest)", ...python("pytest", "-q") },
    ],
  ];
}

/**
 * What needs a check to have passed, and that check.
 * @param {Check} check
 * @param {() => Promise<Outcome[]>} proceed
 * @returns {Promise<Outcome[]>}
 */
async function runAfter(check, proceed) {
  const outcome = await runCheck(check);
  return outcome.verdict === "passed" ? [outcome, ...(await proceed())] : [outcome];
}

/**
 * @param {(() => Promise<Outcome[]>)[]} lanes
 * @returns {Promise<Outcome[]>}
 */
async function runLanes(lanes) {
  return (await Promise.all(lanes.map((lane) => lane()))).flat();
}

/**
 * @param {Check[]} checks
 * @returns {Promise<Outcome[]>}
 */
async function runLane(checks) {
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
    const child = spawn(command, parameters, { cwd: directory, stdio: ["ignore", "pipe", "pipe"] });
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
