/** `npm test`: sets everything up, then runs every check of both languages, all of them even when one fails. */
import { spawnSync } from "node:child_process";
import { join } from "node:path";
import process from "node:process";
import { fileURLToPath } from "node:url";

const root = fileURLToPath(new URL("..", import.meta.url));
const workerDirectory = join(root, "python-worker");

const setUp = runCheck({
  name: "set-up",
  command: process.execPath,
  parameters: ["scripts/setup.mjs", "--test-tools"],
});
const outcomes = setUp.passed ? [setUp, ...(await listChecks()).map(runCheck)] : [setUp];
summarise(outcomes);

async function listChecks() {
  const python = await findPython();
  return [
    {
      name: "lint and format (Biome)",
      ...nodeTool("@biomejs/biome/bin/biome", "check", "--error-on-warnings"),
    },
    { name: "types (tsc)", ...nodeTool("typescript/bin/tsc", "--noEmit") },
    {
      name: "generated schemas are current",
      command: process.execPath,
      parameters: ["scripts/generate-proto.mjs", "--check"],
    },
    { name: "unit tests (Vitest)", ...nodeTool("vitest/vitest.mjs", "run", "--project", "unit") },
    { name: "process tests (Vitest)", ...nodeTool("vitest/vitest.mjs", "run", "--project", "process") },
    { name: "Python lint (ruff)", ...python("ruff", "check", ".") },
    { name: "Python format (ruff)", ...python("ruff", "format", "--check", ".") },
    { name: "Python types (mypy)", ...python("mypy") },
    { name: "Python tests (pytest)", ...python("pytest", "-q") },
    {
      name: "package (publint, attw)",
      command: process.execPath,
      parameters: ["scripts/check-package.mjs", "--lint"],
    },
    {
      name: "package installed elsewhere",
      command: process.execPath,
      parameters: ["scripts/check-package.mjs", "--install"],
    },
  ];
}

function nodeTool(path, ...parameters) {
  return { command: process.execPath, parameters: [join(root, "node_modules", path), ...parameters] };
}

/** The environment that set-up has just made, or the user's own. */
async function findPython() {
  const { resolvePythonEnvironment } = await import("../dist/python/environment.js");
  const environment = resolvePythonEnvironment({ includeTestTools: true });
  if (!environment.installed) throw new Error(environment.reason);
  return (...parameters) => ({
    command: environment.python,
    parameters: ["-m", ...parameters],
    directory: workerDirectory,
  });
}

function runCheck({ name, command, parameters, directory = root }) {
  console.log(`\n=== ${name}`);
  const startMs = performance.now();
  const { status, error } = spawnSync(command, parameters, {
    cwd: directory,
    stdio: ["ignore", "inherit", "inherit"],
  });
  if (error) console.log(`${command} could not be started: ${error.message}`);
  const seconds = (performance.now() - startMs) / 1000;
  const passed = status === 0;
  console.log(`--- ${name}: ${passed ? "passed" : "FAILED"} in ${seconds.toFixed(1)} s`);
  return { name, passed, seconds };
}

function summarise(checks) {
  const failed = checks.filter(({ passed }) => !passed);
  console.log("\n=== summary");
  for (const { name, passed, seconds } of checks)
    console.log(`${passed ? "passed" : "FAILED"} ${seconds.toFixed(1).padStart(7)} s  ${name}`);
  console.log(`\n${checks.length - failed.length} passed, ${failed.length} failed`);
  process.exitCode = failed.length === 0 ? 0 : 1;
}
