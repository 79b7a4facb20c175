import { type Command, InvalidArgumentError, Option } from "commander";
import { z } from "zod";
import { type Problem, problemsOf, shown } from "../options/parse.ts";
import { readNumber, readWhole } from "./read-values.ts";
import { likelyMeant } from "./suggest.ts";

/** The options of a command, or some that several share. `topK` stands for `--top-k`. */
export type OptionGroup = Readonly<Record<string, Flag | ValueOption>>;

export interface Flag {
  readonly help: string;
  /** It turns off what is on by default: `image` stands for `--no-image`. */
  readonly isNegated: boolean;
}

export interface ValueOption<Schema extends z.ZodType = z.ZodType> {
  readonly help: string;
  /** What the help calls its value: `<file>`, or `<text...>` for several. */
  readonly value: string;
  /** Judges the value, or all of several. */
  readonly schema: Schema;
  /** What a text stands for. */
  readonly read: (text: string) => unknown;
  /** As one would type it. */
  readonly default?: string;
  readonly isRequired?: true;
}

/** What a command gets: the values of its options by their names, undefined where one is left out. */
export type ValuesOf<Group extends OptionGroup> = { readonly [Name in keyof Group]: ValueOf<Group[Name]> };

type ValueOf<Of extends Flag | ValueOption> =
  Of extends ValueOption<infer Schema>
    ? Of extends { default: string } | { isRequired: true }
      ? Exclude<z.input<Schema>, undefined>
      : z.input<Schema> | undefined
    : boolean | undefined;

export function flag(help: string, { isNegated = false } = {}): Flag {
  return { help, isNegated };
}

export function option<Schema extends z.ZodType>(
  value: string,
  help: string,
  schema: Schema,
  read: (text: string) => unknown = (text) => text,
): ValueOption<Schema> {
  return { value, help, schema, read };
}

export function text(value: string, help: string): ValueOption<z.ZodString> {
  return option(value, help, z.string().min(1));
}

const pathSchema = z
  .string()
  .min(1, "expected a path")
  .refine(
    (path) => !/\p{Cc}/u.test(path),
    "expected a path without line breaks and other control characters",
  );

/** A file or folder. */
export function path(value: string, help: string): ValueOption<z.ZodString> {
  return option(value, help, pathSchema);
}

const noStreamSchema = pathSchema.refine(
  (path) => path !== "-",
  "expected a path; standard output is for the report (./- is a file of that name)",
);

/** A file or folder that is written, where `-` cannot be standard output. */
export function output(value: string, help: string): ValueOption<z.ZodString> {
  return option(value, help, noStreamSchema);
}

export function whole<Schema extends z.ZodType>(value: string, help: string, schema: Schema) {
  return option(value, help, schema, readWhole);
}

export function decimal<Schema extends z.ZodType>(value: string, help: string, schema: Schema) {
  return option(value, help, schema, readNumber);
}

export function required<Of extends ValueOption>(option: Of): Of & { readonly isRequired: true } {
  return { ...option, isRequired: true };
}

export function preset<Of extends ValueOption>(value: string, option: Of): Of & { readonly default: string } {
  return { ...option, default: value };
}

/** The values of one group out of those of a command. */
export function pick<Group extends OptionGroup, Values extends Partial<ValuesOf<Group>>>(
  group: Group,
  values: Values,
): Pick<Values, keyof Group & keyof Values> {
  return Object.fromEntries(Object.entries(values).filter(([name]) => name in group)) as typeof values;
}

export function addOptions(command: Command, group: OptionGroup): Command {
  for (const [name, option] of Object.entries(group)) {
    command.addOption("schema" in option ? valueOption(name, option) : flagOption(name, option));
  }
  return command;
}

/** `--top-k` for `topK`. */
export function typedName(name: string, isNegated = false): string {
  const words = name.replace(/[A-Z]/g, (letter) => `-${letter.toLowerCase()}`);
  return `--${isNegated ? "no-" : ""}${words}`;
}

/** A message of the API, with options as one types them: `--top-k` for `topK` in backquotes. */
export function typedNames(message: string, group: OptionGroup): string {
  return message.replace(/`(\w+)(?:: \w+)?`/g, (all, field: string) => {
    const name = field === "classLabel" ? "class" : field;
    const option = group[name];
    return option === undefined ? all : typedName(name, "isNegated" in option && option.isNegated);
  });
}

function flagOption(name: string, { help, isNegated }: Flag): Option {
  return new Option(typedName(name, isNegated), help);
}

function valueOption(name: string, { value, help, schema, read, ...given }: ValueOption): Option {
  const option = new Option(`${typedName(name)} ${value}`, help).makeOptionMandatory(
    given.isRequired ?? false,
  );
  const choices = choicesOf(schema);
  if (choices !== undefined) option.choices(choices);
  option.argParser((text, previous: unknown) => {
    const earlier = option.variadic ? ((previous ?? []) as readonly unknown[]) : [];
    const meant = (text: string) => (option.variadic ? [...earlier, read(text)] : read(text));
    return judged(schema, meant, text);
  });
  if (given.default === undefined) return option;
  const meant = read(given.default);
  return option.default(meant, typeof meant === "string" ? undefined : given.default);
}

/** @throws InvalidArgumentError, to which commander adds the option and the text that was typed */
function judged(schema: z.ZodType, meant: (text: string) => unknown, text: string): unknown {
  const value = meant(text);
  const problems = problemsOf(schema, value);
  if (problems.length === 0) return value;
  const takes = (text: string) => problemsOf(schema, meant(text)).length === 0;
  const sentences = new Set(problems.map((problem) => `${inWords(problem)}${hint(problem, text, takes)}`));
  const said = [...sentences].join("; ");
  throw new InvalidArgumentError(`${said.charAt(0).toUpperCase()}${said.slice(1)}.`);
}

function inWords({ path, received, expected }: Problem): string {
  return path.length === 0 ? expected : `${shown(received)}: ${expected}`;
}

/** What may have been meant: always something that the option takes. */
function hint({ received, expected }: Problem, text: string, takes: (text: string) => boolean): string {
  if (typeof received !== "string" || received === "") return "";
  const words = [...expected.matchAll(/"([^"]+)"/g)].map(([, word]) => word as string);
  const meant = likelyMeant(received, words).map((word) => text.replace(received, () => word));
  const taken = meant.find((text) => takes(text));
  return taken === undefined ? "" : ` (did you mean ${taken}?)`;
}

function choicesOf(schema: z.ZodType): readonly string[] | undefined {
  if (schema instanceof z.ZodOptional || schema instanceof z.ZodDefault)
    return choicesOf(schema.unwrap() as z.ZodType);
  return schema instanceof z.ZodEnum ? schema.options.map(String) : undefined;
}
