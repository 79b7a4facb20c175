import type { Command } from "commander";
import { shown } from "../options/parse.ts";
import { nearestWord } from "./suggest.ts";

/** Options of other programs, and what zipar has in their place: an option, or what to say. */
const OTHER_OPTIONS: Readonly<Record<string, string>> = {
  cfg: "--guidance-scale",
  "cfg-scale": "--guidance-scale",
  guidance: "--guidance-scale",
  scale: "--guidance-scale",
  n: "--count",
  num: "--count",
  "num-images": "--count",
  "num-samples": "--count",
  "batch-size": "--count",
  batch: "--count",
  samples: "--count",
  o: "--out",
  output: "--out",
  outdir: "--out",
  "output-dir": "--out",
  file: "--out",
  m: "--model",
  ckpt: "--model",
  checkpoint: "--model",
  s: "--seed",
  t: "--temperature",
  temp: "--temperature",
  neg: "--negative-prompt",
  uncond: "--negative-prompt",
  label: "--class",
  "class-label": "--class",
  precision: "--dtype",
  int8: "--weights int8",
  quantize: "--weights int8",
  quantization: "--weights int8",
  "load-in-8bit": "--weights int8",
  "kv-cache-dtype": "--kv-cache int8",
  "cache-type-k": "--kv-cache int8",
  "cache-type-v": "--kv-cache int8",
  force: "--overwrite",
  f: "--overwrite",
  y: "--overwrite",
  prompt: 'The prompt needs no option: zipar generate "a lighthouse"',
  p: 'The prompt needs no option: zipar generate "a lighthouse"',
  width: "The size is one option: --size 512x512",
  height: "The size is one option: --size 512x512",
  w: "The size is one option: --size 512x512",
  h: "The size is one option: --size 512x512",
  "aspect-ratio": "--size",
  resolution: "--size",
  steps: "These models take no steps; what a picture takes is set by --window and --lookahead",
  "num-inference-steps":
    "These models take no steps; what a picture takes is set by --window and --lookahead",
  sampler: "These models have no sampler; see --temperature, --top-k and --top-p",
  scheduler: "These models have no scheduler; see --window and --lookahead",
};

const OTHER_COMMANDS: Readonly<Record<string, string>> = {
  install: "setup",
  init: "setup",
  check: "doctor",
  evaluate: "eval",
  make: "generate",
  create: "generate",
  draw: "generate",
  txt2img: "generate",
  show: "info",
  inspect: "info",
};

/** What commander says of a mistake, with what may have been meant. */
export function explainMistake(message: string, command: Command): string {
  const [, option] = /unknown option '-{1,2}([^'=]+)/.exec(message) ?? [];
  if (option !== undefined) return withHint(message, optionHint(option, command));
  const [, name] = /unknown command '(.*)'/s.exec(message) ?? [];
  if (name !== undefined) return withHint(message, commandHint(name, command));
  if (/too many arguments/.test(message) && command.name() === "generate") {
    return withHint(message, `A prompt of several words needs quotes: zipar generate "a lighthouse"`);
  }
  // A whole prompt in the place of a number would fill the screen.
  return message.replace(
    /argument '(.{80}).+' is invalid\./s,
    (_, start: string) => `argument ${shown(`${start}...`)} is invalid.`,
  );
}

function optionHint(typed: string, command: Command): string | undefined {
  const known = command.options.flatMap(({ long }) => (long == null ? [] : [long.slice(2)]));
  const name = typed.toLowerCase().replaceAll("_", "-");
  const other = OTHER_OPTIONS[name];
  if (other?.startsWith("--") === false) return command.name() === "generate" ? other : undefined;
  const meant =
    other !== undefined && known.includes(other.slice(2)) ? other.slice(2) : nearestWord(name, known);
  return meant === undefined ? undefined : `Did you mean --${meant}?`;
}

function commandHint(typed: string, program: Command): string {
  const known = program.commands.map((command) => command.name());
  const meant = OTHER_COMMANDS[typed.toLowerCase()] ?? nearestWord(typed, known);
  return meant === undefined ? `To draw it: zipar generate ${shown(typed)}` : `Did you mean zipar ${meant}?`;
}

function withHint(message: string, hint: string | undefined): string {
  return hint === undefined ? message : `${message.trimEnd()}\n(${hint})\n`;
}
