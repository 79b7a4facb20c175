import { existsSync, statSync } from "node:fs";
import { dirname, join } from "node:path";
import { execa } from "execa";
import { z } from "zod";
import { ZiparError } from "../errors.ts";
import { requirePython } from "../python/environment.ts";
import { isolatedVariables, runsModule } from "../python/isolation.ts";

const verdictSchema = z.object({
  /** Per picture: 1 where the classifier names its class. */
  correct: z.array(z.int().min(0).max(1)),
  frechet: z.number(),
  /** Bootstrap values; value k of all sets with the same labels belongs to the same choice of pictures. */
  frechetResamples: z.array(z.number()).min(2),
});

const judgementSchema = z.object({
  sets: z.array(verdictSchema),
  /** As many drawn pictures, and the same after the image tokenizer. */
  drawn: verdictSchema,
  reconstructed: verdictSchema,
});

export type Verdict = z.infer<typeof verdictSchema>;
export type Judgement = z.infer<typeof judgementSchema>;

/** Judges sets of pictures, each a file of `writePictureSet`. */
export type Judge = (sets: readonly string[], signal?: AbortSignal) => Promise<Judgement>;

/** The judge that came with a checkpoint: its classifier, run by `zipar_worker.judge`; undefined where there is none. */
export function findJudge(modelPath: string): Judge | undefined {
  const directory = statSync(modelPath).isDirectory() ? modelPath : dirname(modelPath);
  const files = ["classifier.safetensors", "reference-features.safetensors"];
  if (!files.every((file) => existsSync(join(directory, file)))) return undefined;
  return (sets, signal) => runJudge(directory, sets, signal);
}

async function runJudge(
  directory: string,
  sets: readonly string[],
  signal?: AbortSignal,
): Promise<Judgement> {
  const { python, source } = requirePython();
  const outcome = await execa(
    python,
    [...runsModule("zipar_worker.judge"), "--checkpoint", directory, ...sets],
    {
      reject: false,
      stdin: "ignore",
      env: isolatedVariables(source),
      extendEnv: false,
      ...(signal === undefined ? {} : { cancelSignal: signal }),
    },
  );
  if (outcome.isCanceled) {
    throw new ZiparError({
      code: "cancelled",
      message: "the evaluation was cancelled",
      cause: outcome.cause,
    });
  }
  if (outcome.failed) {
    throw new ZiparError({
      code: "checkpoint",
      message: `the pictures could not be judged: ${outcome.stderr.trim().split("\n").at(-1) || outcome.shortMessage}`,
      details: { stderr: outcome.stderr },
      cause: outcome.cause,
    });
  }
  return judgementSchema.parse(JSON.parse(outcome.stdout));
}
