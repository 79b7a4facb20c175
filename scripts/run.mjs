/**
 * `node scripts/run.mjs bench/main.ts --wire`: sets everything up, builds the tools of this repository and runs one of
 * them, or a module of the package (`dist/...`).
 */
import { spawnSync } from "node:child_process";
import { join } from "node:path";
import process from "node:process";
import { fileURLToPath } from "node:url";

const root = fileURLToPath(new URL("..", import.meta.url));
const [script = "", ...parameters] = process.argv.slice(2);

// Standard output belongs to the tool.
runNode([join(root, "scripts/setup.mjs")], ["ignore", 2, 2]);
if (script.endsWith(".ts")) {
  const compiler = join(root, "node_modules/typescript/bin/tsc");
  runNode([compiler, "-p", join(root, "tsconfig.tools.json")], ["ignore", 2, 2]);
  runNode([join(root, ".setup/tools", script.replace(/\.ts$/, ".js")), ...parameters], "inherit");
} else {
  runNode([join(root, script), ...parameters], "inherit");
}

/**
 * Ends this process where the program fails, with its exit code.
 * @param {readonly string[]} parameters
 * @param {import("node:child_process").StdioOptions} stdio
 */
function runNode(parameters, stdio) {
  const { status, error } = spawnSync(process.execPath, parameters, { stdio });
  if (error) throw error;
  if (status !== 0) process.exit(status ?? 1);
}
