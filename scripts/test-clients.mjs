/**
 * `npm run test:clients`: real clients, in pinned versions of their own, against `zipar serve` with the demo model, and the
 * provider of zipar/ai-sdk in the AI SDK. The clients need Node 22 or newer, which an npm package brings where need be; exit
 * code 77 says that none does for this platform, and that nothing was tested.
 */
import { symlinkSync } from "node:fs";
import { join } from "node:path";
import process from "node:process";
import { fileURLToPath } from "node:url";
import { lockedEnvironment, onceFor, run } from "./locked-environment.mjs";
import { NODE_VERSIONS, nodeFromNpm } from "./node-from-npm.mjs";

const NOT_RUN = 77;
const OLDEST_MAJOR = 22;

const root = fileURLToPath(new URL("..", import.meta.url));
const clients = join(root, "test", "clients");
const node = nodeFromNpm(/** @type {string} */ (NODE_VERSIONS[24])) ?? ownNode();
if (node === undefined) {
  console.log(
    `NOT RUN: the clients need Node ${OLDEST_MAJOR} or newer, this is ${process.version}, and no npm package brings`,
  );
  console.log(
    `another one to ${process.platform}-${process.arch}. Install Node 24 yourself, and with it run \`npm run test:clients\`.`,
  );
  process.exit(NOT_RUN);
}

installNodeClients();
const python = await lockedEnvironment(join(clients, ".venv"), join(clients, "python", "requirements.lock"));
run(node, [join(root, "node_modules/typescript/bin/tsc"), "-p", clients]);
run(node, [join(root, "node_modules/vitest/vitest.mjs"), "run", "--root", clients], {
  variables: { ZIPAR_CLIENTS_PYTHON: python },
});

function ownNode() {
  return Number(process.versions.node.split(".")[0]) >= OLDEST_MAJOR ? process.execPath : undefined;
}

/** zipar itself is a link, as npm makes one for a folder. */
function installNodeClients() {
  const modules = join(clients, "node_modules");
  onceFor(join(clients, "package-lock.json"), join(modules, ".installed-from"), () => {
    console.log("installing the clients of Node");
    // They run on the newer Node, whichever npm installs them; `npm test` hands its own strictness down.
    run("npm", ["ci", "--ignore-scripts", "--engine-strict=false", "--loglevel=error"], {
      directory: clients,
    });
    symlinkSync(root, join(modules, "zipar"), "junction");
  });
}
