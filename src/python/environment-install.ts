import { join } from "node:path";
import { reasonOf } from "../errors.ts";
import { readEnvironmentFacts } from "./environment-files.ts";
import { fillEnvironment } from "./environment-fill.ts";
import type { InstallJob } from "./environment-job.ts";
import { type EnvironmentJudgement, judgeEnvironment, listSome } from "./environment-judgement.ts";
import { removeLeftover, replaceEnvironment } from "./environment-make.ts";
import { inspectPackages } from "./installed-packages.ts";
import { createRunProgram } from "./run-program.ts";
import { withSetupLock } from "./setup-lock.ts";
import { findUv } from "./uv.ts";

export interface InstallRequest extends Omit<InstallJob, "userUv" | "run"> {
  /** Makes the environment anew even when it is complete. */
  readonly force: boolean;
  readonly onTerminal: boolean;
}

/** Makes or mends the environment where needed. Resolves to false when it was complete. */
export async function installManagedEnvironment(request: InstallRequest): Promise<boolean> {
  const { directory, force, onProgress } = request;
  if (!force && (await inspectEnvironment(request)).state === "complete") return false;
  const onWait = (owner: string) =>
    onProgress({ step: "wait", message: `waiting for ${owner}, which is setting up ${directory}` });
  return withSetupLock(directory, onWait, async () => {
    // Whoever held the lock before may have done the work.
    const judgement: EnvironmentJudgement = force
      ? { state: "unusable", reason: "it is to be made anew" }
      : await inspectEnvironment(request);
    if (judgement.state === "complete") return false;
    onProgress({ step: "environment", message: `Python environment ${directory}: ${judgement.reason}` });
    await mendEnvironment(await openJob(request), judgement);
    return true;
  });
}

/** The quick judgement, and beyond it every single file of every package. */
export async function inspectEnvironment({
  directory,
  wanted,
}: Pick<InstallJob, "directory" | "wanted">): Promise<EnvironmentJudgement> {
  const facts = readEnvironmentFacts(directory);
  const judgement = judgeEnvironment(facts, wanted);
  if (judgement.state !== "complete" || !facts.marker) return judgement;
  const packages = await inspectPackages(join(directory, facts.marker.sitePackages));
  const damaged = packages.flatMap(({ damagedFiles }) => damagedFiles);
  if (damaged.length > 0)
    return { state: "incomplete", reason: `files are missing or cut: ${listSome(damaged)}` };
  return judgement;
}

async function openJob(request: InstallRequest): Promise<InstallJob> {
  const run = createRunProgram({
    variables: request.machine.variables,
    directory: request.files.directory,
    onTerminal: request.onTerminal,
    onLine: (line) => {
      // One line per package says nothing that the locks do not.
      if (/^ [-+~] /.test(line) || line.trim() === "") return;
      request.onProgress({ step: "packages", message: line.trim() });
    },
  });
  return { ...request, userUv: await findUv(request.machine), run };
}

async function mendEnvironment(job: InstallJob, judgement: EnvironmentJudgement): Promise<void> {
  if (judgement.state === "incomplete") {
    try {
      await fillEnvironment(job);
      await removeLeftover(job.directory);
      return;
    } catch (error) {
      job.onProgress({
        step: "environment",
        message: `mending it failed, making it anew. ${reasonOf(error)}`,
      });
    }
  }
  await replaceEnvironment(job);
}
