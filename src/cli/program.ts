import { Command } from "commander";
import { ZiparError } from "../errors.ts";
import { readPictureSettings } from "../picture/read.ts";
import { checkModel } from "./check-model.ts";
import { EXAMPLES } from "./examples.ts";
import { orderOf } from "./generate-order.ts";
import { likePicture } from "./like-picture.ts";
import { explainMistake } from "./mistyped.ts";
import { addOptions, type OptionGroup, typedNames, type ValuesOf } from "./option.ts";
import {
  DEMO,
  DOCTOR,
  EVAL,
  GENERATE,
  INFO,
  KEYS,
  PLAN,
  PROFILE,
  SERVE,
  SETUP,
  TRACE,
  WORKER,
} from "./options.ts";
import { checkOutput } from "./output.ts";
import { readPrefix } from "./read-prefix.ts";

/**
 * The command line. What can be judged without a model is judged here; the code of a command is loaded after that: a refusal
 * takes no longer than help does, and help and `doctor` need no native module.
 */
export function createProgram(version: string): Command {
  const program = new Command("zipar")
    .description("Fast images from native PyTorch autoregressive checkpoints (ZipAR decoding).")
    .version(version)
    .showHelpAfterError("(--help lists the options)")
    .showSuggestionAfterError(false)
    .exitOverride()
    .addHelpText("after", EXIT_CODES);
  explainMistakes(program);

  /** A number other than 0 that `run` resolves to is the exit code; `typed` are the options that stand on the command line. */
  function add<Group extends OptionGroup>(
    name: keyof typeof EXAMPLES,
    description: string,
    options: Group,
    run: (options: ValuesOf<Group>, argument: string, typed: ReadonlySet<string>) => Promise<unknown>,
  ): Command {
    const command = addOptions(program.command(name), options)
      .description(description)
      .addHelpText("after", ["\nExamples:", ...EXAMPLES[name]].join("\n  "));
    explainMistakes(command);
    return command.action(async () => {
      const values = command.opts<ValuesOf<Group>>();
      const typed = Object.keys(values).filter((name) => command.getOptionValueSource(name) === "cli");
      try {
        const code = await run(values, command.args[0] as string, new Set(typed));
        if (typeof code === "number" && code !== 0) process.exitCode = code;
      } catch (error) {
        throw namingOptions(error, options);
      }
    });
  }

  add("generate", "make images", GENERATE, async (given, typedPrompt, typed) => {
    const like = given.like === undefined ? undefined : await readPictureSettings(given.like);
    const { prompt, options } =
      like === undefined
        ? { prompt: typedPrompt, options: given }
        : likePicture(like, typedPrompt, given, typed);
    const order = orderOf(prompt, options);
    const { prefix, prefixRows } = options;
    const firstRows =
      prefix === undefined || prefixRows === undefined
        ? like?.options.prefix
        : await readPrefix(prefix, prefixRows);
    return (await import("./generate.ts")).runGenerate(order, options, like, firstRows);
  }).argument("[prompt]", "text prompt, or the name of a class");

  add(
    "info",
    "show what a checkpoint is, which sizes it knows and what memory it needs, without loading it; or how a picture was made",
    INFO,
    async (options, picture, typed) => {
      if (picture !== undefined)
        return (await import("./picture-info.ts")).runPictureInfo(picture, options, typed);
      checkModel(options);
      return (await import("./info.ts")).runInfo(options);
    },
  ).argument("[picture]", "a picture that zipar made");

  add("plan", "show the schedule of a token grid, without a model", PLAN, async (options) => {
    if (options.svg !== undefined) checkOutput("--svg", options.svg, options.overwrite);
    return (await import("./plan.ts")).runPlan(options);
  });

  add("trace", "draw a run that generate --trace recorded", TRACE, async (options, file) => {
    if (options.svg !== undefined) checkOutput("--svg", options.svg, options.overwrite);
    if (options.png !== undefined) checkOutput("--png", options.png, options.overwrite);
    return (await import("./trace.ts")).runTrace(file, options);
  }).argument("<file>", "trace file");

  add(
    "demo",
    "one picture of every class of the demo checkpoint, in next-token order and with ZipAR",
    DEMO,
    async (options) => (await import("./demo.ts")).runDemo(options),
  );

  add(
    "eval",
    "measure what windows cost in fidelity; goes on where an earlier run stopped",
    EVAL,
    async (options) => {
      checkModel(options);
      return (await import("./eval.ts")).runEval(options);
    },
  );

  add(
    "profile",
    "measure how local the attention is, and the windows that keep most of it",
    PROFILE,
    async (options) => {
      checkModel(options);
      return (await import("./profile.ts")).runProfile(options);
    },
  );

  add("serve", "make images over HTTP, as OpenAI's images API does", SERVE, async (options) =>
    (await import("./serve.ts")).runServe(options),
  );

  add("worker", "serve an engine on another machine, until stopped", WORKER, async (options) =>
    (await import("./worker.ts")).runWorker(options),
  );

  add(
    "keys",
    "make the keys of an engine and of a worker that dials in to it",
    KEYS,
    async (options, folder) => (await import("./keys.ts")).runKeys(folder, options),
  ).argument("<folder>", "where the keys go; nothing is overwritten");

  add("setup", "install the Python environment with PyTorch", SETUP, async (options) =>
    (await import("./setup.ts")).runSetup(options),
  );

  add("doctor", "show what is installed, what is wrong and how to mend it", DOCTOR, async (options) =>
    (await import("./doctor.ts")).runDoctor(options),
  );
  return program;
}

const EXIT_CODES = `
Exit codes: 0 done, 2 bad input, 1 other failures; after a signal 130 (Ctrl-C), 143 (SIGTERM) or 129 (SIGHUP).`;

function explainMistakes(command: Command): void {
  command.configureOutput({ outputError: (message, write) => write(explainMistake(message, command)) });
}

/** What only the model could tell is told in the words of the API; here its options have the names that are typed. */
function namingOptions(error: unknown, options: OptionGroup): unknown {
  if (!ZiparError.is(error) || error.code !== "invalid-options") return error;
  const { code, details, message } = error;
  return new ZiparError({ code, message: typedNames(message, options), details, cause: error });
}
