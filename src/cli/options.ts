import { z } from "zod";
import { engineSchema } from "../api/engine-schema.ts";
import {
  adaptiveWindowSchema,
  generateSchema,
  lookaheadSchema,
  planSchema,
  SEEDS,
  windowSchema,
} from "../api/generate-options.ts";
import { LIMITS } from "../protocol/messages.ts";
import {
  decimal,
  flag,
  type OptionGroup,
  option,
  output,
  path,
  preset,
  required,
  text,
  whole,
} from "./option.ts";
import {
  readAutoOrWhole,
  readClass,
  readCounts,
  readDevices,
  readInterval,
  readSize,
  readWholes,
  readWindow,
  readWindows,
} from "./read-values.ts";

const engine = engineSchema.shape;
const image = generateSchema.shape;
const adaptive = adaptiveWindowSchema.shape;
const grid = planSchema.shape;
const count = z.int().min(1).max(100_000);

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
  weightsKey: option("<name>", 'which weights of a file that holds several, e.g. "ema"', engine.weightsKey),
};
const DEVICE = {
  device: preset("auto", option("<device>", "auto, cpu, cuda, cuda:N, or cuda:0+cuda:1", engine.device)),
  threads: preset(
    "auto",
    option("<count>", "threads that a CPU computes with: auto, or a number", engine.threads, readAutoOrWhole),
  ),
};
const TENSOR_PARALLEL = {
  tensorParallel: whole("<count>", "one model over so many GPUs, or CPU processes", engine.tensorParallel),
};
const PLACE = {
  ...DEVICE,
  ...TENSOR_PARALLEL,
  dtype: preset("auto", option("<dtype>", "", engine.dtype)),
  weights: preset("full", option("<form>", "full, or int8: less memory", engine.weights)),
  kvCache: preset("full", option("<form>", "full, or int8: room for more images", engine.kvCache)),
};
const workerCount = z.int().min(1).max(64);
const workersSchema = z
  .union(
    [
      workerCount,
      z
        .strictObject({ min: workerCount, max: workerCount })
        .refine(({ min, max }) => min <= max, "expected MIN:MAX such as 2:16, the smaller number first"),
    ],
    "expected a whole number from 1 to 64, or with --listen MIN:MAX such as 2:16",
  )
  .optional();
export const GRAPHS = {
  cudaGraphs: flag("forwards of few queries as CUDA graphs; not tried on a GPU yet"),
};
/** Several workers behind one engine. */
export const TEAM = {
  devices: option(
    "<list>",
    "a worker on each, in the place of --device: cuda:0,cuda:1, cuda:0+cuda:1,cuda:2+cuda:3, or all",
    engine.devices,
    readDevices,
  ),
  workers: option(
    "<count>",
    "so many workers on one device; with --listen, on other machines: N, or MIN:MAX",
    workersSchema,
    readCounts,
  ),
};
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
    readAutoOrWhole,
  ),
  guidanceScale: decimal("<scale>", "classifier-free guidance; 1 turns it off", image.guidanceScale),
  guidanceInterval: option(
    "<from:to>",
    "shares of the decoded cells between which guidance is on",
    image.guidanceInterval,
    readInterval,
  ),
  temperature: decimal("<temperature>", "0 is greedy", image.temperature),
  topK: whole("<k>", "0 turns it off", image.topK),
  topP: decimal("<p>", "1 turns it off", image.topP),
};

/** What `remoteWorker` takes as it is. */
export const REMOTE = {
  listen: text("<endpoint>", 'wait for a worker that dials in, e.g. at "tcp://10.0.0.5:5555"'),
  keys: path("<folder>", "with --listen: the engine's keys, made by zipar keys"),
  tokenFile: path("<file>", "with --listen: by default ZIPAR_TOKEN, else the token beside the keys"),
  insecurePlaintext: flag("with --listen: plain TCP beyond this machine"),
};

const SEED = `${SEEDS}, or -1 for a random one`;
/** Small enough for any number of further seeds after it. */
const LAST_FIRST_SEED = 2 ** 52 - 1;
const FIRST_SEED = `expected a whole number from 0 to ${LAST_FIRST_SEED} (2^52 - 1): further images take the next ones`;
const firstSeed = (help: string) =>
  preset("1", whole("<seed>", help, z.int(FIRST_SEED).min(0, FIRST_SEED).max(LAST_FIRST_SEED, FIRST_SEED)));
const outFolder = (path: string, help: string) => preset(path, output("<folder>", help));
const OVERWRITE = { overwrite: flag("replace files that exist; without it they are a reason to refuse") };
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
  seed: whole(
    "<seed>",
    "image k of --count uses seed + k; -1, as without it: a random one, which the report names",
    z.int(SEED).min(-1, SEED).max(Number.MAX_SAFE_INTEGER, SEED).optional(),
  ),
  count: preset("1", whole("<count>", "how many images", z.int().min(1).max(4096))),
  ...PLACE,
  ...GRAPHS,
  ...TEAM,
  prefix: path(
    "<file>",
    "goes on from the first rows of a picture that zipar made, or of a run that --trace recorded",
  ),
  prefixRows: whole("<rows>", "with --prefix: how many", z.int().min(1).max(LIMITS.gridSide).optional()),
  like: path("<picture>", "as this picture was made by zipar; the options given beside it win"),
  out: path(
    "<path>",
    'a file (.png, .webp, .jpg), a folder (one that exists, ends in "/", or has no ending), or - for a PNG on standard output',
  ),
  ...OVERWRITE,
  metadata: flag("leave out of the pictures how they were made", { isNegated: true }),
  image: flag("tokens only", { isNegated: true }),
  tokens: flag("with --json: the tokens too"),
  trace: output("<file>", 'record the run of one image, for "zipar trace"'),
  ...REMOTE,
  ...JSON_REPORT,
  ...LOG,
} satisfies OptionGroup;

export const INFO = {
  ...MODEL_FILES,
  size: option("<size>", 'pixels such as "384", for checkpoints that do not say', engine.size, readSize),
  images: preset(
    "1,2,4,8",
    option("<counts>", "estimate the memory for so many images at a time", z.array(count), readWholes),
  ),
  ...PLACE,
  ...JSON_REPORT,
  ...LOG,
} satisfies OptionGroup;

/** What `plan` takes as it is. */
export const GRID = {
  rows: required(whole("<rows>", "rows of the token grid", grid.rows)),
  columns: required(whole("<columns>", "columns of the token grid", grid.columns)),
  window: required(option("<window>", 'N or "full"', grid.window, readWindow)),
  rowEnd: preset("none", option("<kind>", "fixed row-end token", grid.rowEnd)),
} satisfies OptionGroup;

export const PLAN = {
  ...GRID,
  svg: output("<file>", "draw it as SVG too"),
  ...OVERWRITE,
  ...JSON_REPORT,
  ...STACKS,
} satisfies OptionGroup;

export const TRACE = {
  check: flag("say whether the schedule does the same again on the recorded results"),
  svg: output("<file>", "draw it as SVG: wavefront, windows, queries per forward"),
  png: output("<file>", "the same as PNG"),
  ...OVERWRITE,
  ...JSON_REPORT,
  ...STACKS,
} satisfies OptionGroup;

export const DEMO = {
  out: outFolder("demo-output", "where the pictures go; those of an earlier run are replaced"),
  ...DEVICE,
  seed: firstSeed("class k uses seed + k"),
  ...STACKS,
} satisfies OptionGroup;

export const EVAL = {
  ...MODEL,
  samplesPerClass: preset("16", whole("<count>", "images of each class for each setting", count)),
  windows: preset(
    "full,8,4,2,guessed:4,guessed:2,adaptive:2,adaptive:4",
    option("<list>", "settings: windows with commas between them", z.array(windowSchema), readWindows),
  ),
  lookahead: preset("0", whole("<steps>", "fixed windows with guesses so far ahead too", lookaheadSchema)),
  variants: flag("other surrogates, verification orders and tests too"),
  classes: option(
    "<list>",
    "class indices with commas between them; all of them by default",
    z.array(z.int().min(0)),
    readWholes,
  ),
  seed: firstSeed("of the first image; all settings share seeds"),
  maxImages: preset("32", whole("<count>", "images decoded together", engine.maxImages)),
  ...PLACE,
  out: outFolder(
    "eval-output",
    "table, JSON and plot, made anew by each run, and the results of settings that are done",
  ),
  ...JSON_REPORT,
  ...LOG,
} satisfies OptionGroup;

export const PROFILE = {
  ...MODEL_FILES,
  windowQuantile: preset(
    "0.95",
    decimal("<share>", "attention of a row start that a window must keep", z.number().gt(0).max(1)),
  ),
  samples: whole("<count>", "images; by default one of each class, at most 64", count),
  prompt: option("<text...>", "prompts, in turn, for models that take text", z.array(image.prompt.unwrap())),
  seed: firstSeed("sample k uses seed + k"),
  ...PLACE,
  out: outFolder("profile-output", "table, JSON and picture, made anew by each run"),
  ...JSON_REPORT,
  ...LOG,
} satisfies OptionGroup;

/** As `zipar_worker/serve/remote.py` checks it. */
const engineEndpointSchema = z
  .string()
  .regex(
    /^tcp:\/\/(\[[^\]]+\]|[^:/\s]+):[0-9]{1,5}$/,
    'expected "tcp://ADDRESS:PORT", such as "tcp://10.0.0.5:5555"',
  );

const seconds = z.number().gt(0).max(86_400);

export const SERVE = {
  ...MODEL_FILES,
  model: option(
    "<ref...>",
    "models, each as NAME=REF or REF; requests give the NAME; demo by default",
    z.array(engine.model.unwrap()),
  ),
  size: option("<size>", 'pixels such as "384", for checkpoints that do not say', engine.size, readSize),
  ...PLACE,
  ...GRAPHS,
  ...TEAM,
  ...REMOTE,
  maxImages: whole("<count>", "images decoded together by a worker", engine.maxImages),
  host: preset("127.0.0.1", text("<address>", "where it listens; beyond this machine a key is needed")),
  port: preset("7811", whole("<port>", "0: any that is free", z.int().min(0).max(65_535))),
  apiKeyFile: path("<file>", "keys, one on each line; requests send one as a bearer token"),
  load: preset(
    "start",
    option("<when>", "load models at the start or on demand", z.enum(["start", "demand"])),
  ),
  memoryBudget: decimal("<GiB>", "weights and K/V caches of all loaded models", z.number().gt(0)),
  maxQueue: preset("32", whole("<count>", "images of a model that may wait; more get 429", z.int().min(0))),
  timeout: preset("600", decimal("<seconds>", "how long a request may take", seconds)),
  stopDeadline: preset(
    "30",
    decimal("<seconds>", "what running images get after SIGTERM", z.number().min(0).max(86_400)),
  ),
  unknownSize: preset(
    "refuse",
    option(
      "<what>",
      "a size that the model does not know is refused, or the nearest taken",
      z.enum(["refuse", "nearest"]),
    ),
  ),
  allowedHost: option("<name...>", "other names of this server in Host headers", z.array(z.string().min(1))),
  corsOrigin: option("<origin...>", "origins whose pages may use it", z.array(z.string())),
  publicUrl: text("<url>", "what it is reached by, for the URLs of pictures"),
  studio: flag("no page at /: docs/studio.md", { isNegated: true }),
  ...LOG,
} satisfies OptionGroup;

export const WORKER = {
  connect: required(
    option("<endpoint>", 'where the engine listens, e.g. "tcp://10.0.0.5:5555"', engineEndpointSchema),
  ),
  keys: path("<folder>", "the worker's keys, made by zipar keys"),
  tokenFile: path("<file>", "by default ZIPAR_TOKEN, else the token beside the keys"),
  threads: DEVICE.threads,
  device: { ...DEVICE.device, help: "cpu, cuda, cuda:N or cuda:0+cuda:1; auto leaves it to the engine" },
  ...TENSOR_PARALLEL,
  heartbeatTimeout: whole(
    "<ms>",
    "silence after which the link counts as lost; 3000 by default",
    z.int().min(100).max(600_000),
  ),
  drain: preset(
    "30",
    decimal(
      "<seconds>",
      "that its images may take once it is told to end; 0: none",
      z.number().min(0).max(86_400),
    ),
  ),
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
