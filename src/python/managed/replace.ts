import { existsSync } from "node:fs";
import { mkdir, readdir, rename, rm } from "node:fs/promises";
import { dirname, join } from "node:path";
import { ZiparError } from "../../errors.ts";
import { fillEnvironment } from "./fill.ts";
import { findInterpreter } from "./interpreter.ts";
import type { InstallJob } from "./job.ts";

/** Makes the environment anew. The old one comes back if that fails: it may have served for something. */
export async function replaceEnvironment(job: InstallJob): Promise<void> {
  const base = await findInterpreter(job.machine);
  const aside = asideOf(job.directory);
  await removeEnvironment(aside);
  const hasOld = existsSync(job.directory);
  if (hasOld) await rename(job.directory, aside);
  try {
    await makeEnvironment(job, base.path);
    await fillEnvironment(job);
  } catch (error) {
    if (hasOld) {
      await removeEnvironment(job.directory);
      await rename(aside, job.directory);
    }
    throw error;
  }
  await removeEnvironment(aside);
}

/** What a set-up that was killed while it replaced an environment left beside it. */
export async function removeLeftover(directory: string): Promise<void> {
  await removeEnvironment(asideOf(directory));
}

function asideOf(directory: string): string {
  return `${directory}.old`;
}

async function makeEnvironment(
  { directory, userUv, run, onProgress }: InstallJob,
  base: string,
): Promise<void> {
  onProgress({ step: "environment", message: `making a virtual environment with ${base}` });
  await mkdir(dirname(directory), { recursive: true });
  if (userUv) return run(userUv, ["venv", "--quiet", "--python", base, directory]);
  try {
    await run(base, ["-m", "venv", directory]);
  } catch (cause) {
    throw new ZiparError({
      code: "python-environment",
      message:
        `${base} could not make a virtual environment in ${directory}. Its venv module may be a package of its own: ` +
        "on Debian and Ubuntu, `apt install python3-venv`. Installing uv helps too.",
      cause,
    });
  }
}

/** Deletes nothing that does not look like an environment. */
async function removeEnvironment(directory: string): Promise<void> {
  if (!existsSync(directory)) return;
  const isEmpty = (await readdir(directory)).length === 0;
  const looksLikeOne = ["pyvenv.cfg", "lib", "Lib", "bin", "Scripts"].some((name) =>
    existsSync(join(directory, name)),
  );
  if (!isEmpty && !looksLikeOne)
    throw new ZiparError({
      code: "python-environment",
      message: `${directory} is in the way and does not look like a Python environment. Move it elsewhere, then run set-up again.`,
    });
  await rm(directory, { recursive: true, force: true, maxRetries: 3 });
}
