import { existsSync } from "node:fs";
import { mkdir, readdir, rename, rm } from "node:fs/promises";
import { dirname, join } from "node:path";
import { reasonOf, ZiparError } from "../../errors.ts";
import { runsOwnModule } from "../isolation.ts";
import { findCommand } from "../location.ts";
import { throwIfCancelled } from "../throw-if-cancelled.ts";
import { fillEnvironment } from "./fill.ts";
import { findInterpreter, type Interpreter, PYTHON_RANGE } from "./interpreter.ts";
import type { InstallJob } from "./job.ts";
import { readUvSettings } from "./uv.ts";

/** What uv is to bring where the machine has no Python that serves. */
const BROUGHT_PYTHON = "3.12";

/** Makes the environment anew. The old one comes back if that fails: it may have served for something. */
export async function replaceEnvironment(job: InstallJob): Promise<void> {
  const base = await findInterpreter(job.machine);
  if (base instanceof ZiparError && job.userUv === undefined)
    throw withAdvice(
      base,
      "Or install uv (https://docs.astral.sh/uv): with it, `zipar setup` gets a Python by itself.",
    );
  const aside = asideOf(job.directory);
  await removeEnvironment(aside);
  const hasOld = existsSync(job.directory);
  if (hasOld) await rename(job.directory, aside);
  try {
    await (base instanceof ZiparError ? bringPython(job, base) : makeEnvironment(job, base));
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

/** @param none why no Python of the machine serves */
async function bringPython(job: InstallJob, none: ZiparError): Promise<void> {
  const { directory, machine, userUv, run, onProgress, signal } = job;
  onProgress({
    step: "environment",
    message: `no Python ${PYTHON_RANGE} on PATH: uv brings Python ${BROUGHT_PYTHON}`,
  });
  await mkdir(dirname(directory), { recursive: true });
  const settings = await readUvSettings(findCommand("python3", machine), machine);
  try {
    await run(
      userUv as string,
      ["venv", "--quiet", "--python", BROUGHT_PYTHON, directory],
      settings.variables,
    );
  } catch (cause) {
    throwIfCancelled(signal);
    throw withAdvice(none, `uv could not get one either: ${reasonOf(cause)}`, cause);
  }
}

function withAdvice({ code, message, details }: ZiparError, advice: string, cause?: unknown): ZiparError {
  return new ZiparError({ code, message: `${message} ${advice}`, details, cause });
}

async function makeEnvironment(
  { directory, userUv, run, onProgress, signal }: InstallJob,
  { path: base }: Interpreter,
): Promise<void> {
  onProgress({ step: "environment", message: `making a virtual environment with ${base}` });
  await mkdir(dirname(directory), { recursive: true });
  if (userUv) return run(userUv, ["venv", "--quiet", "--python", base, directory]);
  try {
    await run(base, [...runsOwnModule("venv"), directory]);
  } catch (cause) {
    throwIfCancelled(signal);
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
