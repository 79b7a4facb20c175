import type { Engine } from "../api/engine.ts";
import { engineSchema } from "../api/engine-schema.ts";
import { ZiparError } from "../errors.ts";
import type { PicturePart } from "../picture/part.ts";
import { escapeUnprintable } from "../picture/plain-text.ts";
import type { PictureSettings } from "../picture/settings.ts";
import { VERSION } from "../version.ts";
import type { ValuesOf } from "./option.ts";
import type { GENERATE } from "./options.ts";

type Options = ValuesOf<typeof GENERATE>;

/**
 * The command line that makes a picture again. What was typed wins: a prompt or a class over either of the picture's, a
 * window over all that belongs to one.
 * @throws ZiparError `invalid-options` where a file is needed that only the maker of the picture has
 */
export function likePicture(
  settings: PictureSettings,
  typedPrompt: string | undefined,
  given: Options,
  typed: ReadonlySet<string>,
): { readonly prompt: string | undefined; readonly options: Options } {
  const { prompt, classLabel, negativePrompt, size, window, lookahead, ...sampling } = settings.options;
  const { guidanceScale, guidanceInterval, temperature, topK, topP, seed, surrogate } = sampling;
  const hasSubject = typedPrompt !== undefined || typed.has("class");
  const dtype = engineSchema.shape.dtype.safeParse(settings.dtype).data;
  const { verification, test } = typeof window === "object" && window.kind === "adaptive" ? window : {};
  const recorded: Partial<Options> = {
    ...partsOf(settings, given.like, typed),
    ...(hasSubject ? {} : { class: classLabel }),
    weightsKey: settings.weightsKey,
    negativePrompt,
    size,
    ...(typed.has("window") ? {} : { window, verification, windowTest: test }),
    lookahead,
    guidanceScale,
    guidanceInterval,
    temperature,
    topK,
    topP,
    seed,
    surrogate,
    ...(dtype === undefined ? {} : { dtype }),
    weights: settings.weights ?? "full",
    kvCache: settings.kvCache ?? "full",
  };
  const won = Object.fromEntries(Object.entries(given).filter(([name]) => typed.has(name)));
  return { prompt: hasSubject ? typedPrompt : prompt, options: { ...given, ...recorded, ...won } };
}

/** Files that everybody can fetch. */
function partsOf(
  { model, vq, textEncoder }: PictureSettings,
  picture: string | undefined,
  typed: ReadonlySet<string>,
): Partial<Options> {
  const missing: string[] = [];
  const referenceOf = (name: string, flag: string, part: PicturePart | undefined) => {
    if (part === undefined || typed.has(name)) return undefined;
    if ("reference" in part) return part.reference;
    missing.push(`${flag} (there it was ${JSON.stringify(part.file)})`);
    return undefined;
  };
  const references = {
    model: referenceOf("model", "--model", model),
    vq: referenceOf("vq", "--vq", vq),
    textEncoder: referenceOf("textEncoder", "--text-encoder", textEncoder),
  };
  if (missing.length === 0)
    return Object.fromEntries(Object.entries(references).filter(([, reference]) => reference !== undefined));
  throw new ZiparError({
    code: "invalid-options",
    message:
      `--like ${picture}: the picture was made with files of its maker's machine, and names no place to fetch them ` +
      `from; give ${missing.join(" and ")}`,
  });
}

/** Says on stderr where the picture that is made may not be the one that it shall be like. */
export function tellDifference(
  { card, dtype, device, zipar, weights, kvCache }: PictureSettings,
  now: Pick<Engine, "card" | "dtype" | "device"> & Pick<Options, "weights" | "kvCache">,
): void {
  const pairs: readonly (readonly [string, string])[] = [
    [card.name, now.card.name],
    [dtype, now.dtype],
    [`${weights ?? "full"} weights`, `${now.weights} weights`],
    [`${kvCache ?? "full"} K/V`, `${now.kvCache} K/V`],
    [withoutNumber(device), withoutNumber(now.device)],
    [`zipar ${zipar}`, `zipar ${VERSION}`],
  ];
  const differences = pairs.filter(([then, now]) => then !== now);
  if (differences.length === 0) return;
  const [made, makes] = [0, 1].map((k) => differences.map((pair) => pair[k]).join(", "));
  const text = `the picture may differ: the other one was made with ${made}, this one is with ${makes}`;
  process.stderr.write(`zipar: ${escapeUnprintable(text)}\n`);
}

/** `cuda:1 NVIDIA H100` computes as `cuda:0 NVIDIA H100` does. */
function withoutNumber(device: string): string {
  return device.replace(/cuda:\d+/g, "cuda");
}
