import { z } from "zod";
import { engineSchema } from "../api/engine-schema.ts";
import {
  adaptiveWindowSchema,
  generateSchema,
  lookaheadSchema,
  planSchema,
  windowSchema,
} from "../api/generate-options.ts";
import { flag, number, type OptionGroup, option, preset, required, text } from "./option.ts";
import {
  readClass,
  readInterval,
  readLookahead,
  readNumbers,
  readSize,
  readWindow,
  readWindows,
} from "./read-values.ts";

const engine = engineSchema.shape;
const image = generateSchema.shape;
const adaptive = adaptiveWindowSchema.shape;
const grid = planSchema.shape;
const count = z.int().min(1);

const MODEL_HELP =
  '"demo", a checkpoint directory, a weights file, or a hub id: owner/name[/file][@revision]';
const VQ_HELP = "image tokenizer, when it does not lie beside the weights: a path or a hub id";
const TEXT_ENCODER_HELP =
  "text encoder or text tokenizer, when it does not lie beside the weights: a path or a hub id";

const MODEL = { model: preset("demo", option("<ref>", MODEL_HELP, engine.model)) };
const MODEL_FILES = {
  ...MODEL,
  vq: option("<ref>", VQ_HELP, engine.vq),
  textEncoder: option("<ref>", TEXT_ENCODER_HELP, engine.textEncoder),
};
const DEVICE = { device: preset("auto", option("<device>", "auto, cpu, cuda or cuda:N", engine.device)) };
const PLACE = { ...DEVICE, dtype: preset("auto", option("<dtype>", "", engine.dtype)) };
/** What `createEngine` takes as it is. */
export const LOADED = { ...MODEL_FILES, ...PLACE };

/** What `generate` takes as it is. */
export const SAMPLING = {
  surrogate: option(
    "<rule>",
    "token that opens a row early, in families without row-end tokens",
    image.surrogate,
  ),
  lookahead: option(
    "<steps>",
    "steps ahead for which guesses are fed: auto, or a number",
    image.lookahead,
    readLookahead,
  ),
  guidanceScale: number("<scale>", "classifier-free guidance; 1 turns it off", image.guidanceScale),
  guidanceInterval: option(
    "<from:to>",
    "shares of the decoded cells between which guidance is on",
    image.guidanceInterval,
    readInterval,
  ),
  temperature: number("<temperature>", "0 is greedy", image.temperature),
  topK: number("<k>", "0 turns it off", image.topK),
  topP: number("<p>", "1 turns it off", image.topP),
};

/** What `remoteWorker` takes as it is. */
export const REMOTE = {
  listen: text("<endpoint>", 'wait for a worker that dials in, e.g. at "tcp://10.0.0.5:5555"'),
  keys: text("<folder>", "with --listen: the engine's keys, made by zipar keys"),
  tokenFile: text("<file>", "with --listen: by default ZIPAR_TOKEN, else the token beside the keys"),
  insecurePlaintext: flag("with --listen: plain TCP beyond this machine"),
};

const seed = (help: string) => number("<seed>", help, image.seed);
const outFolder = (path: string, help: string) => preset(path, text("<folder>", help));
const JSON_REPORT = { json: flag("one JSON object on stdout") };
const STACKS = { verbose: flag("stack traces of errors") };
export const LOG = { verbose: flag("the worker's log, and stack traces of errors") };

export const GENERATE = {
  ...MODEL_FILES,
  size: option(
    "<size>",
    'pixels such as "512" or "960x544", or a ratio such as "16:9"',
    image.size,
    readSize,
  ),
  class: option("<label>", "class index or name", image.classLabel, readClass),
  negativePrompt: option(
    "<text>",
    "what the image should not show, for models that take text",
    image.negativePrompt,
  ),
  window: option(
    "<window>",
    'tokens the row above must be ahead: N, "full", "guessed[:N]", "adaptive[:N]"',
    image.window,
    readWindow,
  ),
  verification: option("<order>", "adaptive window: when a draft is fed", adaptive.verification),
  windowTest: option("<test>", "adaptive window: the test", adaptive.test),
  ...SAMPLING,
  seed: seed("image k of --count uses seed + k"),
  count: preset("1", number("<count>", "how many images", count.max(4096))),
  ...PLACE,
  out: text("<path>", "file (.png, .webp, .jpg) or folder"),
  image: flag("tokens only", { isNegated: true }),
  tokens: flag("with --json: the tokens too"),
  trace: text("<file>", 'record the run of one image, for "zipar trace"'),
  ...REMOTE,
  ...JSON_REPORT,
  ...LOG,
} satisfies OptionGroup;

export const INFO = {
  ...MODEL_FILES,
  size: option("<size>", 'pixels such as "384", for checkpoints that do not say', engine.size, readSize),
  images: preset(
    "1,2,4,8",
    option("<counts>", "estimate the memory for so many images at a time", z.array(count), readNumbers),
  ),
  ...PLACE,
  ...JSON_REPORT,
  ...LOG,
} satisfies OptionGroup;

/** What `plan` takes as it is. */
export const GRID = {
  rows: required(number("<rows>", "rows of the token grid", grid.rows)),
  columns: required(number("<columns>", "columns of the token grid", grid.columns)),
  window: required(option("<window>", 'N or "full"', grid.window, readWindow)),
  rowEnd: preset("none", option("<kind>", "fixed row-end token", grid.rowEnd)),
} satisfies OptionGroup;

export const PLAN = {
  ...GRID,
  svg: text("<file>", "draw it as SVG too"),
  ...JSON_REPORT,
  ...STACKS,
} satisfies OptionGroup;

export const TRACE = {
  check: flag("say whether the schedule does the same again on the recorded results"),
  svg: text("<file>", "draw it as SVG: wavefront, windows, queries per forward"),
  png: text("<file>", "the same as PNG"),
  ...JSON_REPORT,
  ...STACKS,
} satisfies OptionGroup;

export const DEMO = {
  out: outFolder("demo-output", "where the pictures go"),
  ...DEVICE,
  seed: preset("1", seed("class k uses seed + k")),
  ...STACKS,
} satisfies OptionGroup;

export const EVAL = {
  ...MODEL,
  samplesPerClass: preset("16", number("<count>", "images of each class for each setting", count)),
  windows: preset(
    "full,8,4,2,guessed:4,guessed:2,adaptive:2,adaptive:4",
    option("<list>", "settings: windows with commas between them", z.array(windowSchema), readWindows),
  ),
  lookahead: preset("0", number("<steps>", "fixed windows with guesses so far ahead too", lookaheadSchema)),
  variants: flag("other surrogates, verification orders and tests too"),
  classes: option(
    "<list>",
    "class indices with commas between them; all of them by default",
    z.array(z.int().min(0)),
    readNumbers,
  ),
  seed: preset("1", seed("of the first image; all settings share seeds")),
  maxImages: preset("32", number("<count>", "images decoded together", engine.maxImages)),
  ...PLACE,
  out: outFolder("eval-output", "table, JSON, plot, and the results of settings that are done"),
  ...JSON_REPORT,
  ...LOG,
} satisfies OptionGroup;

export const PROFILE = {
  ...MODEL_FILES,
  windowQuantile: preset(
    "0.95",
    number("<share>", "attention of a row start that a window must keep", z.number().gt(0).max(1)),
  ),
  samples: number("<count>", "images; by default one of each class, at most 64", count),
  prompt: option("<text...>", "prompts, in turn, for models that take text", z.array(z.string())),
  seed: preset("1", seed("sample k uses seed + k")),
  ...PLACE,
  out: outFolder("profile-output", "table, JSON and picture"),
  ...JSON_REPORT,
  ...LOG,
} satisfies OptionGroup;

export const WORKER = {
  connect: required(text("<endpoint>", 'where the engine listens, e.g. "tcp://10.0.0.5:5555"')),
  keys: text("<folder>", "the worker's keys, made by zipar keys"),
  tokenFile: text("<file>", "by default ZIPAR_TOKEN, else the token beside the keys"),
  device: { ...DEVICE.device, help: "cpu, cuda or cuda:N; auto leaves it to the engine" },
  heartbeatTimeout: number("<ms>", "silence after which the link counts as lost; 3000 by default", z.int()),
  insecurePlaintext: flag("plain TCP beyond this machine"),
  ...STACKS,
} satisfies OptionGroup;

export const KEYS = {
  worker: text("<name>", "name of the worker; with an engine's keys there, adds this one"),
  ...STACKS,
} satisfies OptionGroup;

export const SETUP = {
  force: flag("install again even when it looks complete"),
  ...JSON_REPORT,
  ...STACKS,
} satisfies OptionGroup;

export const DOCTOR = { ...JSON_REPORT, ...STACKS } satisfies OptionGroup;
