/**
 * `npm run test:ray`: workers on a real Ray cluster, of processes of this machine, in an environment of its own. Some
 * minutes, and no part of `npm test`.
 */
import { join } from "node:path";
import process from "node:process";
import { fileURLToPath } from "node:url";
import { lockedEnvironment, run } from "./locked-environment.mjs";

if (process.platform !== "linux") {
  console.error("npm run test:ray needs Linux: it finds workers by their nodes in /proc");
  process.exit(2);
}
const root = fileURLToPath(new URL("..", import.meta.url));
const tests = join(root, "test", "ray");
const python = await lockedEnvironment(join(tests, ".venv"), join(tests, "requirements.lock"));
run(process.execPath, [join(root, "node_modules/vitest/vitest.mjs"), "run", "--root", tests], {
  variables: { ZIPAR_RAY_PYTHON: python },
});
