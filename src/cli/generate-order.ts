import { randomInt } from "node:crypto";
import type { GenerateOptions } from "../api/generate-options.ts";
import { generateSchema } from "../api/generate-options.ts";
import { ZiparError } from "../errors.ts";
import { problemsOf, shown } from "../options/parse.ts";
import { checkModel } from "./check-model.ts";
import { pick, type ValuesOf } from "./option.ts";
import { type GENERATE, SAMPLING } from "./options.ts";
import { checkOutput, checkOutputs } from "./output.ts";
import { type PictureTarget, pictureTarget } from "./picture-files.ts";
import { checkListen, teamProblems } from "./team.ts";

type Options = ValuesOf<typeof GENERATE>;

/** What a command line of `zipar generate` asks for. */
export interface GenerateOrder {
  readonly request: GenerateOptions;
  /** Of the first image. */
  readonly seed: number;
  /** Undefined: tokens only. */
  readonly target: PictureTarget | undefined;
}

/**
 * Judges all that can be judged without the model's card, before anything is loaded. Nothing is written.
 * @throws ZiparError `invalid-options`, `image-output`, `model-not-found`
 */
export function orderOf(prompt: string | undefined, options: Options): GenerateOrder {
  for (const [isWrong, problem] of combinations(prompt, options)) if (isWrong) throw invalid(problem);
  checkPrompt(prompt);
  checkListen(options);
  if (options.listen === undefined) checkModel(options);
  const { count, class: classLabel, overwrite } = options;
  const seed = options.seed === undefined || options.seed === -1 ? randomInt(RANDOM_SEEDS) : options.seed;
  if (seed > Number.MAX_SAFE_INTEGER - (count - 1)) {
    throw invalid(
      `--seed ${seed} with --count ${count}: the last image would have a seed beyond 2^53 - 1; ` +
        `expected a seed of at most ${Number.MAX_SAFE_INTEGER - count + 1}`,
    );
  }
  const subject = prompt ?? (classLabel as string | number);
  const target = options.image ? pictureTarget(options.out ?? ".", { count, seed, subject }) : undefined;
  if (target?.type === "files") checkOutputs("--out", target, overwrite);
  if (options.trace !== undefined) checkOutput("--trace", options.trace, overwrite);
  return { request: requestOf(prompt, options), seed, target };
}

const RANDOM_SEEDS = 2 ** 32;

/** What cannot go together, whatever the model is. */
function combinations(prompt: string | undefined, options: Options): readonly (readonly [boolean, string])[] {
  const { window, count, out, json, image, negativePrompt, class: classLabel } = options;
  const isAdaptive = typeof window === "object" && window.kind === "adaptive";
  const needsAdaptive = (option: string) => `${option} belongs to the adaptive window; add --window adaptive`;
  return [
    [
      prompt === undefined && classLabel === undefined,
      'nothing to draw; give a prompt in quotes ("a lighthouse") or the name of a class, or --class for its index',
    ],
    [
      prompt !== undefined && classLabel !== undefined,
      `both the prompt ${shown(prompt)} and --class ${classLabel}; a model takes one of them, leave the other out`,
    ],
    [
      negativePrompt !== undefined && classLabel !== undefined,
      "--negative-prompt is for models that take text, --class for those that take classes; leave one of them out",
    ],
    [!isAdaptive && options.verification !== undefined, needsAdaptive("--verification")],
    [!isAdaptive && options.windowTest !== undefined, needsAdaptive("--window-test")],
    ...teamProblems(options),
    [
      (options.prefix === undefined) !== (options.prefixRows === undefined),
      "--prefix names the picture whose first rows are given, --prefix-rows says how many; give both",
    ],
    [!json && options.tokens === true, "--tokens is a part of the JSON report; add --json"],
    [
      options.trace !== undefined && count !== 1,
      `--trace records one image, and --count asks for ${count}; leave one of them out`,
    ],
    [!image && out !== undefined, "--no-image makes no picture that --out could name; leave one of them out"],
    [out === "-" && count !== 1, `--out - writes one picture, and --count asks for ${count}; name a folder`],
    [
      out === "-" && json === true,
      "--out - and --json both want standard output; name a file for the picture",
    ],
    [
      out === "-" && process.stdout.isTTY,
      "--out - writes a PNG to standard output, which is a terminal here; add `> picture.png`, or name a file",
    ],
  ];
}

function checkPrompt(prompt: string | undefined): void {
  if (prompt === undefined) return;
  const [problem] = problemsOf(generateSchema.shape.prompt, prompt);
  if (problem !== undefined) throw invalid(`the prompt ${shown(prompt)}: ${problem.expected}`);
  if (prompt.trim() === "") throw invalid(`the prompt ${shown(prompt)}: expected one that says something`);
}

function requestOf(prompt: string | undefined, options: Options): GenerateOptions {
  const { size, negativePrompt, image, window, verification, windowTest: test } = options;
  const isAdaptive = typeof window === "object" && window.kind === "adaptive";
  return {
    prompt,
    classLabel: options.class,
    negativePrompt,
    size,
    window: isAdaptive ? { ...window, verification, test } : window,
    image,
    ...pick(SAMPLING, options),
  };
}

function invalid(message: string): ZiparError {
  return new ZiparError({ code: "invalid-options", message });
}
