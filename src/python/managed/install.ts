import { join } from "node:path";
import { reasonOf, ZiparError } from "../../errors.ts";
import { isolatedVariables } from "../isolation.ts";
import { throwIfCancelled } from "../throw-if-cancelled.ts";
import { readEnvironmentFacts } from "./facts.ts";
import { fillEnvironment } from "./fill.ts";
import { inspectPackages } from "./installed-packages.ts";
import type { InstallJob } from "./job.ts";
import { listSome } from "./list-some.ts";
import { removeLeftover, replaceEnvironment } from "./replace.ts";
import { createRunProgram } from "./run-program.ts";
import { withSetupLock } from "./setup-lock.ts";
import { type EnvironmentState, environmentState } from "./state.ts";
import { findUv, uvCacheVariables } from "./uv.ts";

export interface InstallRequest extends Omit<InstallJob, "userUv" | "run"> {
  /** Makes the environment anew even when it is complete. */
  readonly force: boolean;
  readonly onTerminal: boolean;
}

/** Makes or mends the environment where needed. Resolves to false when it was complete. */
export async function installManagedEnvironment(request: InstallRequest): Promise<boolean> {
  const { directory, force, onProgress } = request;
  if (!force && (await inspectEnvironment(request)).kind === "complete") return false;
  const onWait = (owner: string) =>
    onProgress({ step: "wait", message: `waiting for ${owner}, which is setting up ${directory}` });
  const work = async () => {
    // Whoever held the lock before may have done the work.
    const state: EnvironmentState = force
      ? { kind: "unusable", reason: "it is to be made anew" }
      : await inspectEnvironment(request);
    if (state.kind === "complete") return false;
    onProgress({ step: "environment", message: `Python environment ${directory}: ${state.reason}` });
    await mendEnvironment(await openJob(request), state);
    return true;
  };
  return withSetupLock(directory, onWait, work, request.signal).catch((cause: unknown) => {
    throw isOfFileSystem(cause) ? cannotWrite(request, cause) : cause;
  });
}

function isOfFileSystem(cause: unknown): cause is NodeJS.ErrnoException {
  return cause instanceof Error && "syscall" in cause && "path" in cause;
}

function cannotWrite({ directory, root }: InstallRequest, cause: Error): ZiparError {
  const place = directory.startsWith(root)
    ? "Make that folder writable"
    : "Set XDG_CACHE_HOME or HOME to a folder that can be written";
  return new ZiparError({
    code: "python-environment",
    message:
      `The Python environment ${directory} cannot be written (${cause.message}). ${place}, or set ZIPAR_PYTHON to an ` +
      "interpreter of your own in which the worker's packages are installed.",
    cause,
  });
}

/** The quick look, and beyond it every single file of every package. */
export async function inspectEnvironment({
  directory,
  wanted,
}: Pick<InstallJob, "directory" | "wanted">): Promise<EnvironmentState> {
  const facts = readEnvironmentFacts(directory);
  const state = environmentState(facts, wanted);
  if (state.kind !== "complete" || !facts.marker) return state;
  const packages = await inspectPackages(join(directory, facts.marker.sitePackages));
  const damaged = packages.flatMap(({ damagedFiles }) => damagedFiles);
  if (damaged.length > 0)
    return { kind: "incomplete", reason: `files are missing or cut: ${listSome(damaged)}` };
  return state;
}

async function openJob(request: InstallRequest): Promise<InstallJob> {
  const run = createRunProgram({
    variables: {
      ...isolatedVariables("managed", request.machine.variables),
      ...uvCacheVariables(request.machine),
    },
    onTerminal: request.onTerminal,
    signal: request.signal,
    onLine: (line) => {
      // One line per package says nothing that the locks do not.
      if (/^ [-+~] /.test(line) || line.trim() === "") return;
      request.onProgress({ step: "packages", message: line.trim() });
    },
  });
  return { ...request, userUv: await findUv(request.machine), run };
}

async function mendEnvironment(job: InstallJob, state: EnvironmentState): Promise<void> {
  if (state.kind === "incomplete") {
    try {
      await fillEnvironment(job);
      await removeLeftover(job.directory);
      return;
    } catch (error) {
      throwIfCancelled(job.signal);
      job.onProgress({
        step: "environment",
        message: `mending it failed, making it anew. ${reasonOf(error)}`,
      });
    }
  }
  await replaceEnvironment(job);
}
