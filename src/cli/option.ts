import { type Command, InvalidArgumentError, Option } from "commander";
import { z } from "zod";
import { describeProblems } from "../options/parse.ts";
import { readNumber } from "./read-values.ts";

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
  return option(value, help, z.string());
}

export function number<Schema extends z.ZodType>(value: string, help: string, schema: Schema) {
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
    const words = name.replace(/[A-Z]/g, (letter) => `-${letter.toLowerCase()}`);
    command.addOption("schema" in option ? valueOption(words, option) : flagOption(words, option));
  }
  return command;
}

function flagOption(words: string, { help, isNegated }: Flag): Option {
  return new Option(isNegated ? `--no-${words}` : `--${words}`, help);
}

function valueOption(words: string, { value, help, schema, read, ...given }: ValueOption): Option {
  const option = new Option(`--${words} ${value}`, help).makeOptionMandatory(given.isRequired ?? false);
  const choices = choicesOf(schema);
  if (choices !== undefined) option.choices(choices);
  option.argParser((text, previous: unknown) =>
    judged(schema, option.variadic ? [...((previous ?? []) as unknown[]), read(text)] : read(text)),
  );
  if (given.default === undefined) return option;
  const meant = read(given.default);
  return option.default(meant, typeof meant === "string" ? undefined : given.default);
}

/** @throws InvalidArgumentError, to which commander adds the option and the text that was typed */
function judged(schema: z.ZodType, value: unknown): unknown {
  const { error } = schema.safeParse(value);
  if (error === undefined) return value;
  const problems = describeProblems(error, value).join("; ");
  throw new InvalidArgumentError(`${problems.charAt(0).toUpperCase()}${problems.slice(1)}.`);
}

function choicesOf(schema: z.ZodType): readonly string[] | undefined {
  if (schema instanceof z.ZodOptional || schema instanceof z.ZodDefault)
    return choicesOf(schema.unwrap() as z.ZodType);
  return schema instanceof z.ZodEnum ? schema.options.map(String) : undefined;
}
