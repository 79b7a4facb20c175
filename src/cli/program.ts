import { Command } from "commander";
import { addOptions, type OptionGroup, type ValuesOf } from "./option.ts";
import { DEMO, DOCTOR, EVAL, GENERATE, INFO, KEYS, PLAN, PROFILE, SETUP, TRACE, WORKER } from "./options.ts";

/** The command line. The code of a command is loaded when it runs: help and `doctor` need no native module. */
export function createProgram(version: string): Command {
  const program = new Command("zipar")
    .description("Fast images from native PyTorch autoregressive checkpoints (ZipAR decoding).")
    .version(version)
    .showHelpAfterError("(--help lists the options)")
    .exitOverride();

  /** A number that `run` resolves to is the exit code. */
  function add<Group extends OptionGroup>(
    name: string,
    description: string,
    options: Group,
    run: (options: ValuesOf<Group>, argument: string) => Promise<unknown>,
  ): Command {
    const command = addOptions(program.command(name), options).description(description);
    return command.action(async () => {
      const code = await run(command.opts(), command.args[0] as string);
      if (typeof code === "number") process.exitCode = code;
    });
  }

  add("generate", "make images", GENERATE, async (options, prompt) =>
    (await import("./generate.ts")).runGenerate(prompt, options),
  ).argument("[prompt]", "text prompt, or the name of a class");

  add(
    "info",
    "show what a checkpoint is, which sizes it knows and what memory it needs, without loading it",
    INFO,
    async (options) => (await import("./info.ts")).runInfo(options),
  );

  add("plan", "show the schedule of a token grid, without a model", PLAN, async (options) =>
    (await import("./plan.ts")).runPlan(options),
  );

  add("trace", "draw a run that generate --trace recorded", TRACE, async (options, file) =>
    (await import("./trace.ts")).runTrace(file, options),
  ).argument("<file>", "trace file");

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
    async (options) => (await import("./eval.ts")).runEval(options),
  );

  add(
    "profile",
    "measure how local the attention is, and the windows that keep most of it",
    PROFILE,
    async (options) => (await import("./profile.ts")).runProfile(options),
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
