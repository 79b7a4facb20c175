import { z } from "zod";
import { type GenerateOptions, generateSchema } from "../api/generate-options.ts";
import { ZiparError } from "../errors.ts";
import { describeProblem, problemsOf } from "../options/parse.ts";
import type { ImageFormat } from "../picture/encode.ts";
import { HONOURED_FIELDS, IGNORED_FIELDS, OWN_KNOBS } from "./image-fields.ts";

const SHOWN_CHARACTERS = 80;
/** As image clients write it. */
const RANDOM_SEED = -1;

type Knobs = (typeof OWN_KNOBS)[number];

/** What a body asks for, checked as far as that goes without the model's card. */
export interface ImageRequest {
  readonly model: string | undefined;
  readonly prompt: string | undefined;
  readonly imageCount: number;
  /** As it was written; undefined for the model's first. */
  readonly size: string | undefined;
  readonly isUrl: boolean;
  readonly format: ImageFormat;
  /** 0 to 100, where the format has a quality. */
  readonly compression: number | undefined;
  /** Whether the picture carries how it was made. */
  readonly metadata: boolean;
  readonly stream: boolean;
  readonly partialImages: number;
  readonly knobs: Pick<GenerateOptions, Knobs>;
}

export interface RequestLimits {
  readonly maxPromptCharacters: number;
  readonly maxPartialImages: number;
  /** Options of `generate` that the route takes. */
  readonly knobNames: readonly Knobs[];
}

/** Every field has a meaning, stands on the list of those that are ignored, or is refused by its name. @throws ZiparError `invalid-options` */
export function parseImageRequest(body: unknown, limits: RequestLimits): ImageRequest {
  if (typeof body !== "object" || body === null || Array.isArray(body))
    throw invalid(undefined, 'the body is no JSON object; expected one such as {"prompt":"lighthouse"}');
  const { zipar = {}, ...plain } = withoutNulls(body);
  if (typeof zipar !== "object" || Array.isArray(zipar))
    throw invalid("zipar", "`zipar` is no JSON object; expected one with zipar's own options");
  const { knobNames } = limits;
  const { knobs, rest } = splitKnobs(plain, withoutNulls(zipar as object), knobNames);
  const fields = check(fieldsSchema(limits), rest, (key) => key, knobNames);
  const given = check(
    knobSchema(knobNames),
    Object.fromEntries(knobs.map(({ name, value }) => [name, value])),
    (name) => knobs.find((knob) => knob.name === name)?.key ?? name,
    knobNames,
  );
  return settle(fields, given as ImageRequest["knobs"]);
}

function settle(fields: Fields, knobs: ImageRequest["knobs"]): ImageRequest {
  const { prompt, n, stream, metadata, response_format, output_format: format, output_compression } = fields;
  if (prompt === undefined && knobs.classLabel === undefined)
    throw invalid("prompt", "`prompt` is missing; expected a text, or the name of a class");
  if (fields.background === "transparent")
    throw invalid(
      "background",
      '`background` = "transparent" cannot be had: these models draw opaque pictures; leave it out, or "auto"',
    );
  if (output_compression !== undefined && output_compression < 100 && format === "png")
    throw invalid(
      "output_compression",
      "`output_compression` below 100 means nothing to PNG, which has no loss; ask for `output_format` jpeg or webp",
    );
  if (metadata && output_compression !== undefined && format !== "png")
    throw invalid(
      "metadata",
      "`metadata` cannot be had together with `output_compression`; leave one of them out",
    );
  return {
    model: fields.model,
    prompt: prompt === "" && knobs.classLabel !== undefined ? undefined : prompt,
    imageCount: n,
    size: fields.size === "auto" ? undefined : fields.size,
    isUrl: response_format === "url",
    format,
    compression: output_compression,
    metadata,
    stream,
    partialImages: fields.partial_images,
    knobs,
  };
}

function knobSchema(names: readonly Knobs[]) {
  return generateSchema.pick(Object.fromEntries(names.map((name) => [name, true])) as Record<Knobs, true>);
}

/** No side is 0. */
const SIZE =
  /^(auto|[1-9]\d{0,5}x[1-9]\d{0,5}|(?!0+(\.0+)?:)\d{1,6}(\.\d{1,6})?:(?!0+(\.0+)?$)\d{1,6}(\.\d{1,6})?)$/;

type Fields = z.output<ReturnType<typeof fieldsSchema>>;

function fieldsSchema({ maxPromptCharacters, maxPartialImages }: RequestLimits) {
  return z.strictObject({
    prompt: z
      .string()
      .max(maxPromptCharacters, `expected at most ${maxPromptCharacters} characters`)
      .optional(),
    model: z.string().optional(),
    n: z.int().min(1).max(10).default(1),
    size: z
      .string()
      .regex(SIZE, 'expected "auto", pixels such as "512x512", or a ratio such as "16:9"')
      .optional(),
    response_format: z.enum(["b64_json", "url"]).default("b64_json"),
    output_format: z.enum(["png", "jpeg", "webp"]).default("png"),
    output_compression: z.int().min(0).max(100).optional(),
    background: z.enum(["auto", "opaque", "transparent"]).optional(),
    metadata: z.boolean().default(false),
    stream: z.boolean().default(false),
    partial_images: z.int().min(0).max(maxPartialImages).default(0),
    ...Object.fromEntries(IGNORED_FIELDS.map((name) => [name, z.unknown().optional()])),
  });
}

interface Knob {
  /** As it was written. */
  readonly key: string;
  readonly name: string;
  readonly value: unknown;
}

/** zipar's own options: under `zipar`, or plain among the others; as the SDK writes them, or in snake_case. */
function splitKnobs(plain: Record<string, unknown>, own: Record<string, unknown>, names: readonly string[]) {
  const entries = Object.entries(plain).map(([key, value]) => ({ key, name: camelCase(key), value }));
  const isKnob = ({ name }: Knob) => names.includes(name);
  const knobs: Knob[] = [
    ...entries.filter(isKnob),
    ...Object.entries(own).map(([key, value]) => ({ key: `zipar.${key}`, name: camelCase(key), value })),
  ];
  for (const [k, { key, name }] of knobs.entries()) {
    const twin = knobs.findIndex((other) => other.name === name);
    if (twin !== k)
      throw invalid(key, `\`${key}\` and \`${knobs[twin]?.key}\` are the same option; give one of them`);
  }
  return {
    knobs: knobs.filter(({ name, value }) => name !== "seed" || value !== RANDOM_SEED),
    rest: Object.fromEntries(entries.filter((entry) => !isKnob(entry)).map(({ key, value }) => [key, value])),
  };
}

/** The first problem is told, by the name under which it was sent. @throws ZiparError `invalid-options` */
function check<Schema extends z.ZodObject>(
  schema: Schema,
  value: Record<string, unknown>,
  keyOf: (name: string) => string,
  knobNames: readonly Knobs[],
): z.output<Schema> {
  const foreign = Object.keys(value).find((name) => !Object.hasOwn(schema.shape, name));
  if (foreign !== undefined) {
    const known = [...HONOURED_FIELDS, ...IGNORED_FIELDS, "metadata", ...knobNames.map(snakeCase), "zipar"];
    const key = keyOf(foreign);
    if ((OWN_KNOBS as readonly string[]).includes(camelCase(foreign)))
      throw invalid(key, `${shownKey(key)} is taken by POST /zipar/generations alone`);
    throw invalid(key, `${shownKey(key)} is no field of this server; it knows ${known.join(", ")}`);
  }
  const [problem] = problemsOf(schema, value);
  if (problem === undefined) return schema.parse(value);
  const [name, ...inside] = problem.path;
  const key = keyOf(String(name));
  throw invalid(key, describeProblem({ ...problem, path: [...key.split("."), ...inside] }));
}

function shownKey(key: string): string {
  return `\`${key.length <= SHOWN_CHARACTERS ? key : `${key.slice(0, SHOWN_CHARACTERS)}...`}\``;
}

/** A field that is null is left out: clients write both. */
function withoutNulls(body: object): Record<string, unknown> {
  return Object.fromEntries(Object.entries(body).filter(([, value]) => value !== null));
}

function camelCase(key: string): string {
  return key.replace(/_([a-z])/g, (_, letter: string) => letter.toUpperCase());
}

function snakeCase(name: string): string {
  return name.replace(/[A-Z]/g, (letter) => `_${letter.toLowerCase()}`);
}

function invalid(param: string | undefined, message: string): ZiparError {
  return new ZiparError({ code: "invalid-options", message, details: { param } });
}
