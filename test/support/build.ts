import { readdirSync, statSync } from "node:fs";
import { join } from "node:path";
import { execa } from "execa";
import { PACKAGE_ROOT } from "./python.ts";

/** Builds what programs outside of the tests import. */
export async function buildIfStale(): Promise<void> {
  const source = join(PACKAGE_ROOT, "src");
  const newest = Math.max(
    ...readdirSync(source, { recursive: true }).map((file) => statSync(join(source, String(file))).mtimeMs),
  );
  const built = statSync(join(PACKAGE_ROOT, "dist/index.js"), { throwIfNoEntry: false })?.mtimeMs ?? 0;
  if (built >= newest) return;
  await execa("npx", ["tsc", "-p", "tsconfig.studio.json"], { cwd: PACKAGE_ROOT });
  await execa("npx", ["tsc", "-p", "tsconfig.build.json"], { cwd: PACKAGE_ROOT });
}

/** Builds a program beside the tests, which runs the package's build, and gives its path. */
export async function buildTool(path: string): Promise<string> {
  await buildIfStale();
  await execa("npx", ["tsc", "-p", "tsconfig.tools.json"], { cwd: PACKAGE_ROOT });
  return join(PACKAGE_ROOT, ".setup/tools", path.replace(/\.ts$/, ".js"));
}
