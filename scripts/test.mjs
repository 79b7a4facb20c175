/** `npm test`: sets everything up, then runs every check of both languages, all of them even when one fails. */
import { spawnSync } from "node:child_process";
import { join } from "node:path";
import process from "node:process";
import { fileURLToPath } from "node:url";

/**
 * @typedef {{ command: string, parameters: string[], directory?: string }} Command
 * @typedef {{ name: string } & Command} Check
 * @typedef {{ name: string, verdict: "passed" | "FAILED" | "NOT RUN", seconds: number }} Outcome
 */

const root = fileURLToPath(new URL("..", import.meta.url));
const workerDirectory = join(root, "python-worker");
/** With which a check says that this machine cannot run it. */
const NOT_RUN = 77;

const setUp = runCheck({ name: "set-up", ...node("scripts/setup.mjs", "--test-tools") });
const outcomes = setUp.verdict === "passed" ? [setUp, ...(await listChecks()).map(runCheck)] : [setUp];
summarise(outcomes);

/** @returns {Promise<Check[]>} */
async function listChecks() {
  const python = await findPython();
  return [
    { name: "lint and format (Biome)", ...bin("@biomejs/biome/bin/biome", "check", "--error-on-warnings") },
    { name: "types (tsc)", ...bin("typescript/bin/tsc", "--noEmit") },
    { name: "tools (tsc)", ...bin("typescript/bin/tsc", "-p", "tsconfig.tools.json") },
    { name: "generated schemas are current", ...node(".setup/tools/scripts/generate-proto.js", "--check") },
    { name: "unit tests (Vitest)", ...bin("vitest/vitest.mjs", "run", "--project", "unit") },
    { name: "unit tests on Node 22", ...node("scripts/test-on-node.mjs", "22") },
    { name: "unit tests on Node 24", ...node("scripts/test-on-node.mjs", "24") },
    { name: "process tests (Vitest)", ...bin("vitest/vitest.mjs", "run", "--project", "process") },
    { name: "Python lint (ruff)", ...python("ruff", "check", ".") },
    { name: "Python format (ruff)", ...python("ruff", "format", "--check", ".") },
    { name: "Python types (mypy)", ...python("mypy") },
    { name: "Python tests (pytest)", ...python("pytest", "-q") },
    {
      name: "API docs (typedoc)",
      ...node("docs/api/node_modules/typedoc/bin/typedoc"),
      directory: join(root, "docs/api"),
    },
    { name: "package (publint, attw)", ...node(".setup/tools/scripts/check-package.js", "--lint") },
    { name: "package installed elsewhere", ...node(".setup/tools/scripts/check-package.js", "--install") },
  ];
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
 * @param {Check} check
 * @returns {Outcome}
 */
function runCheck({ name, command, parameters, directory = root }) {
  console.log(`\n=== ${name}`);
  const startMs = performance.now();
  const { status, error } = spawnSync(command, parameters, {
    cwd: directory,
    stdio: ["ignore", "inherit", "inherit"],
  });
  if (error) console.log(`${command} could not be started: ${error.message}`);
  const seconds = (performance.now() - startMs) / 1000;
  const verdict = status === 0 ? "passed" : status === NOT_RUN ? "NOT RUN" : "FAILED";
  console.log(`--- ${name}: ${verdict} in ${seconds.toFixed(1)} s`);
  return { name, verdict, seconds };
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
