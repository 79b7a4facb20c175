import { z } from "zod";
import { generateSchema, pixelSizeSchema } from "../api/generate-options.ts";
import { ZiparError } from "../errors.ts";
import { describeProblem, problemsOf } from "../options/parse.ts";
import { partSchema } from "./part.ts";
import { pictureTokensSchema } from "./picture-tokens.ts";
import { escapeNonAscii, plainText } from "./plain-text.ts";

const SETTINGS_VERSION = 1;
const MAX_CHARACTERS = 1 << 20;

const { shape } = generateSchema;

/** How a picture was made, as it carries it: enough to make it again. */
export const pictureSettingsSchema = z.strictObject({
  /** Of this form. */
  version: z.literal(SETTINGS_VERSION),
  /** The version of zipar. */
  zipar: plainText(64),
  /** What the engine was given. */
  model: partSchema,
  vq: partSchema.optional(),
  textEncoder: partSchema.optional(),
  weightsKey: plainText(128).optional(),
  /** What the model calls itself; `className` where it was asked for a class that has a name. */
  card: z.strictObject({ family: plainText(64), name: plainText(256), className: plainText(256).optional() }),
  /** Such as "cpu" or "cuda:0 NVIDIA H100". */
  device: plainText(128),
  dtype: plainText(32),
  /** Absent: "full". */
  weights: z.enum(["int8"]).optional(),
  /** Absent: "full". */
  kvCache: z.enum(["int8"]).optional(),
  /** What `generate` takes: with the same model it makes the same picture. */
  options: z.strictObject({
    prompt: shape.prompt,
    classLabel: z.int().min(0).optional(),
    negativePrompt: shape.negativePrompt,
    size: pixelSizeSchema,
    prefix: shape.prefix,
    window: shape.window.unwrap(),
    lookahead: shape.lookahead.unwrap(),
    guidanceScale: shape.guidanceScale.unwrap(),
    guidanceInterval: shape.guidanceInterval.unwrap(),
    temperature: shape.temperature.unwrap(),
    topK: shape.topK.unwrap(),
    topP: shape.topP.unwrap(),
    seed: shape.seed.unwrap(),
    surrogate: shape.surrogate.unwrap(),
    refreshRowEnds: z.boolean(),
  }),
  /** Forwards that it took. */
  forwards: z.int().min(1),
  /** What it is made of; absent in pictures of earlier versions, and where there are too many. */
  tokens: pictureTokensSchema.optional(),
});

export type PictureSettings = z.output<typeof pictureSettingsSchema>;

/** As one line of ASCII, which every kind of picture can carry. */
export function encodeSettings(settings: PictureSettings): string {
  return escapeNonAscii(JSON.stringify(settings));
}

/**
 * Reads what a picture carries, which is whatever somebody put there. `name` is that of the picture.
 * @throws ZiparError `picture`
 */
export function decodeSettings(text: string, name: string): PictureSettings {
  if (text.length > MAX_CHARACTERS) throw refusal(name, `it has ${text.length} characters`);
  const value = parseJson(text);
  const version = (value as { version?: unknown } | null | undefined)?.version;
  if (typeof version === "number" && Number.isSafeInteger(version) && version > SETTINGS_VERSION) {
    throw refusal(
      name,
      `it is of version ${version}, written by a newer zipar; this one reads version ${SETTINGS_VERSION}`,
    );
  }
  const [problem] = problemsOf(pictureSettingsSchema, value);
  if (problem === undefined) return pictureSettingsSchema.parse(value);
  throw refusal(name, value === undefined ? "it is no JSON" : describeProblem(problem));
}

function parseJson(text: string): unknown {
  try {
    return JSON.parse(text);
  } catch {
    return undefined;
  }
}

function refusal(name: string, problem: string): ZiparError {
  return new ZiparError({
    code: "picture",
    message: `${name}: what it says of how it was made cannot be read: ${escapeNonAscii(problem)}`,
  });
}
