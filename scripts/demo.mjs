/** `npm run demo`: sets everything up, then makes a picture of every class of the demo checkpoint. */
import { spawnSync } from "node:child_process";
import { join } from "node:path";
import process from "node:process";
import { fileURLToPath } from "node:url";

const root = fileURLToPath(new URL("..", import.meta.url));
run("scripts/setup.mjs");
run("dist/cli/main.js", "demo", ...process.argv.slice(2));

function run(script, ...parameters) {
  const { status } = spawnSync(process.execPath, [join(root, script), ...parameters], { stdio: "inherit" });
  if (status !== 0) process.exit(status ?? 1);
}
