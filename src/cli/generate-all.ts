import type { Engine } from "../api/engine.ts";
import type { GenerateOptions } from "../api/generate-options.ts";
import type { Generation, GenerationResult } from "../api/generation.ts";
import { ZiparError } from "../errors.ts";
import { makeFolder } from "./output.ts";
import type { PictureTarget } from "./picture-files.ts";
import { showProgress } from "./progress.ts";

interface PictureTask {
  readonly count: number;
  /** Of the first image. */
  readonly seed: number;
  readonly target: PictureTarget | undefined;
  /** Whether pictures carry how they were made. */
  readonly metadata: boolean | undefined;
}

/** Images are saved as they are finished, so that neither an interrupt nor the failure of one costs the others. */
export async function generateAll(
  engine: Engine,
  request: GenerateOptions,
  { count, seed, target, metadata }: PictureTask,
): Promise<readonly PromiseSettledResult<GenerationResult>[]> {
  const progress = showProgress();
  const generations = Array.from({ length: count }, (_, k) =>
    engine.generate({ ...request, seed: seed + k }),
  );
  const decodedCounts = new Array<number>(count).fill(0);
  const finish = async (generation: Generation, k: number) => {
    for await (const event of generation) {
      if (event.type !== "step") continue;
      decodedCounts[k] = event.decodedCount;
      const decoded = decodedCounts.reduce((sum, count) => sum + count, 0);
      progress.show("generating", decoded, event.tokenCount * count, `tokens, forward ${event.forward}`);
    }
    const result = await generation;
    await keep(result, { target, metadata }, k);
    return result;
  };
  try {
    return await Promise.allSettled(generations.map(finish));
  } finally {
    progress.stop();
  }
}

/** A run that makes no picture leaves no folder either. */
async function keep(
  result: GenerationResult,
  { target, metadata }: Pick<PictureTask, "target" | "metadata">,
  k: number,
): Promise<void> {
  if (target?.type === "files") {
    if (target.makesFolder) makeFolder(target.folder);
    await result.image.save(target.files[k] as string, { metadata });
  }
  if (target?.type === "standard-output")
    process.stdout.write(await result.image.encode("png", { metadata }));
}

/** Throws what the first image failed with, if one did, with word of those that did not. */
export function throwFailure(
  outcomes: readonly PromiseSettledResult<GenerationResult>[],
  areSaved: boolean,
): void {
  const failures = outcomes.flatMap((outcome) => (outcome.status === "rejected" ? [outcome.reason] : []));
  const [first] = failures;
  if (first === undefined) return;
  if (outcomes.length === 1 || !ZiparError.is(first)) throw first;
  const finishedCount = outcomes.length - failures.length;
  const finished = `${finishedCount} of ${outcomes.length} images were finished${areSaved && finishedCount > 0 ? " and are saved" : ""}`;
  const { code, message, details } = first;
  throw new ZiparError({ code, message: `${message}; ${finished}`, details, cause: first });
}
