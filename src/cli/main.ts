#!/usr/bin/env node
import { readFileSync } from "node:fs";
import { Command, Option } from "commander";
import {
  anyWindow,
  classLabel,
  fixedWindow,
  guidanceInterval,
  imageSize,
  pixelSize,
  realNumber,
  wholeNumber,
  wholeNumbers,
  windowList,
} from "./arguments.ts";
import { runDemo } from "./demo.ts";
import { describeFailure, exitCodeOf } from "./failure.ts";
import { runGenerate } from "./generate.ts";
import { runPlan } from "./plan.ts";

const { version } = JSON.parse(readFileSync(new URL("../../package.json", import.meta.url), "utf8")) as {
  version: string;
};

const MODEL_HELP =
  '"demo", a checkpoint directory, a weights file, or a hub id: owner/name[/file][@revision]';
const VQ_HELP = "image tokenizer, when it does not lie beside the weights: a path or a hub id";
const TEXT_ENCODER_HELP =
  "text encoder or text tokenizer, when it does not lie beside the weights: a path or a hub id";
const EVAL_WINDOWS = "full,8,4,2,adaptive:1,adaptive:2,adaptive:4";

const program = new Command("zipar")
  .description("Fast images from native PyTorch autoregressive checkpoints (ZipAR decoding).")
  .version(version)
  .showHelpAfterError("(--help lists the options)")
  .exitOverride();

program
  .command("generate")
  .description("make images")
  .argument("[prompt]", "text prompt, or the name of a class")
  .option("--model <ref>", MODEL_HELP, "demo")
  .option("--vq <ref>", VQ_HELP)
  .option("--text-encoder <ref>", TEXT_ENCODER_HELP)
  .option("--size <size>", 'pixels such as "512" or "960x544", or a ratio such as "16:9"', imageSize)
  .option("--class <label>", "class index or name", classLabel)
  .option("--negative-prompt <text>", "what the image should not show, for models that take text")
  .option(
    "--window <window>",
    'tokens the row above must be ahead: N, "full", "adaptive" or "adaptive:N"',
    anyWindow,
  )
  .addOption(
    new Option("--verification <order>", "adaptive window: when a draft is fed").choices([
      "overlapped",
      "sequential",
    ]),
  )
  .addOption(
    new Option("--window-test <test>", "adaptive window: the test").choices(["rejection", "coupled"]),
  )
  .addOption(
    new Option(
      "--surrogate <rule>",
      "token that opens a row early, in families without row-end tokens",
    ).choices(["two-rows-up", "above", "newest"]),
  )
  .option("--guidance-scale <scale>", "classifier-free guidance; 1 turns it off", realNumber)
  .option(
    "--guidance-interval <from:to>",
    "shares of the decoded cells between which guidance is on",
    guidanceInterval,
  )
  .option("--temperature <temperature>", "0 is greedy", realNumber)
  .option("--top-k <k>", "0 turns it off", wholeNumber)
  .option("--top-p <p>", "1 turns it off", realNumber)
  .option("--seed <seed>", "image k of --count uses seed + k", wholeNumber)
  .option("--count <count>", "how many images", wholeNumber, 1)
  .addOption(new Option("--device <device>", "auto, cpu, cuda or cuda:N").default("auto"))
  .addOption(
    new Option("--dtype <dtype>").choices(["auto", "float32", "bfloat16", "float16"]).default("auto"),
  )
  .option("--out <path>", "file (.png, .webp, .jpg) or folder")
  .option("--no-image", "tokens only")
  .option("--tokens", "with --json: the tokens too")
  .option("--trace <file>", 'record the run of one image, for "zipar trace"')
  .option("--listen <endpoint>", 'wait for a worker that dials in, e.g. at "tcp://10.0.0.5:5555"')
  .option("--keys <folder>", "with --listen: the engine's keys, made by zipar keys")
  .option("--token-file <file>", "with --listen: by default ZIPAR_TOKEN, else the token beside the keys")
  .option("--insecure-plaintext", "with --listen: plain TCP beyond this machine")
  .option("--json", "one JSON object on stdout")
  .option("--verbose", "the worker's log, and stack traces of errors")
  .action(runGenerate);

program
  .command("info")
  .description("show what a checkpoint is, which sizes it knows and what memory it needs, without loading it")
  .option("--model <ref>", MODEL_HELP, "demo")
  .option("--vq <ref>", VQ_HELP)
  .option("--text-encoder <ref>", TEXT_ENCODER_HELP)
  .option("--size <size>", 'pixels such as "384", for checkpoints that do not say', pixelSize)
  .addOption(
    new Option("--images <counts>", "estimate the memory for so many images at a time")
      .argParser(wholeNumbers)
      .default([1, 2, 4, 8], "1,2,4,8"),
  )
  .addOption(new Option("--device <device>", "auto, cpu, cuda or cuda:N").default("auto"))
  .addOption(
    new Option("--dtype <dtype>").choices(["auto", "float32", "bfloat16", "float16"]).default("auto"),
  )
  .option("--json", "one JSON object on stdout")
  .option("--verbose", "the worker's log, and stack traces of errors")
  .action(async (options) => {
    const { runInfo } = await import("./info.ts");
    await runInfo(options);
  });

program
  .command("plan")
  .description("show the schedule of a token grid, without a model")
  .requiredOption("--rows <rows>", "rows of the token grid", wholeNumber)
  .requiredOption("--columns <columns>", "columns of the token grid", wholeNumber)
  .requiredOption("--window <window>", 'N or "full"', fixedWindow)
  .addOption(new Option("--row-end <kind>", "fixed row-end token").choices(["none", "token"]).default("none"))
  .option("--svg <file>", "draw it as SVG too")
  .option("--json", "one JSON object on stdout")
  .option("--verbose", "stack traces of errors")
  .action(runPlan);

program
  .command("trace")
  .description("draw a run that generate --trace recorded")
  .argument("<file>", "trace file")
  .option("--check", "say whether the schedule does the same again on the recorded results")
  .option("--svg <file>", "draw it as SVG: wavefront, windows, queries per forward")
  .option("--png <file>", "the same as PNG")
  .option("--json", "one JSON object on stdout")
  .option("--verbose", "stack traces of errors")
  .action(async (file, options) => {
    const { runTrace } = await import("./trace.ts");
    await runTrace(file, options);
  });

program
  .command("demo")
  .description("one picture of every class of the demo checkpoint, in next-token order and with ZipAR")
  .option("--out <folder>", "where the pictures go", "demo-output")
  .addOption(new Option("--device <device>", "auto, cpu, cuda or cuda:N").default("auto"))
  .option("--seed <seed>", "class k uses seed + k", wholeNumber, 1)
  .option("--verbose", "stack traces of errors")
  .action(runDemo);

program
  .command("eval")
  .description("measure what windows cost in fidelity; goes on where an earlier run stopped")
  .option("--model <ref>", MODEL_HELP, "demo")
  .option("--samples-per-class <count>", "images of each class for each setting", wholeNumber, 16)
  .addOption(
    new Option("--windows <list>", "settings: windows with commas between them")
      .argParser(windowList)
      .default(windowList(EVAL_WINDOWS), EVAL_WINDOWS),
  )
  .option("--variants", "other surrogates, verification orders and tests too")
  .option("--classes <list>", "class indices with commas between them; all of them by default", wholeNumbers)
  .option("--seed <seed>", "of the first image; all settings share seeds", wholeNumber, 1)
  .option("--max-images <count>", "images decoded together", wholeNumber, 32)
  .addOption(new Option("--device <device>", "auto, cpu, cuda or cuda:N").default("auto"))
  .addOption(
    new Option("--dtype <dtype>").choices(["auto", "float32", "bfloat16", "float16"]).default("auto"),
  )
  .option("--out <folder>", "table, JSON, plot, and the results of settings that are done", "eval-output")
  .option("--json", "one JSON object on stdout")
  .option("--verbose", "the worker's log, and stack traces of errors")
  .action(async (options) => {
    const { runEval } = await import("./eval.ts");
    await runEval(options);
  });

program
  .command("profile")
  .description("measure how local the attention is, and the windows that keep most of it")
  .option("--model <ref>", MODEL_HELP, "demo")
  .option("--vq <ref>", VQ_HELP)
  .option("--text-encoder <ref>", TEXT_ENCODER_HELP)
  .option("--window-quantile <share>", "attention of a row start that a window must keep", realNumber, 0.95)
  .option("--samples <count>", "images; by default one of each class, at most 64", wholeNumber)
  .option("--prompt <text...>", "prompts, in turn, for models that take text")
  .option("--seed <seed>", "sample k uses seed + k", wholeNumber, 1)
  .addOption(new Option("--device <device>", "auto, cpu, cuda or cuda:N").default("auto"))
  .addOption(
    new Option("--dtype <dtype>").choices(["auto", "float32", "bfloat16", "float16"]).default("auto"),
  )
  .option("--out <folder>", "table, JSON and picture", "profile-output")
  .option("--json", "one JSON object on stdout")
  .option("--verbose", "the worker's log, and stack traces of errors")
  .action(async (options) => {
    const { runProfile } = await import("./profile.ts");
    await runProfile(options);
  });

program
  .command("worker")
  .description("serve an engine on another machine, until stopped")
  .requiredOption("--connect <endpoint>", 'where the engine listens, e.g. "tcp://10.0.0.5:5555"')
  .option("--keys <folder>", "the worker's keys, made by zipar keys")
  .option("--token-file <file>", "by default ZIPAR_TOKEN, else the token beside the keys")
  .addOption(
    new Option("--device <device>", "cpu, cuda or cuda:N; auto leaves it to the engine").default("auto"),
  )
  .option(
    "--heartbeat-timeout <ms>",
    "silence after which the link counts as lost; 3000 by default",
    wholeNumber,
  )
  .option("--insecure-plaintext", "plain TCP beyond this machine")
  .option("--verbose", "stack traces of errors")
  .action(async (options) => {
    const { runWorker } = await import("./worker.ts");
    process.exitCode = await runWorker(options);
  });

program
  .command("keys")
  .description("make the keys of an engine and of a worker that dials in to it")
  .argument("<folder>", "where the keys go; nothing is overwritten")
  .option("--worker <name>", "name of the worker; with an engine's keys there, adds this one")
  .option("--verbose", "stack traces of errors")
  .action(async (folder, options) => {
    const { runKeys } = await import("./keys.ts");
    runKeys(folder, options);
  });

program
  .command("setup")
  .description("install the Python environment with PyTorch")
  .option("--force", "install again even when it looks complete")
  .option("--json", "one JSON object on stdout")
  .option("--verbose", "stack traces of errors")
  .action(async (options) => {
    const { runSetup } = await import("./setup.ts");
    await runSetup(options);
  });

program
  .command("doctor")
  .description("show what is installed, what is wrong and how to mend it")
  .option("--json", "one JSON object on stdout")
  .option("--verbose", "stack traces of errors")
  .action(async (options) => {
    const { runDoctor } = await import("./doctor.ts");
    process.exitCode = await runDoctor(options);
  });

try {
  await program.parseAsync();
} catch (error) {
  process.exitCode = exitCodeOf(error);
  // commander has printed its own errors already
  if (!(error instanceof Error && error.name === "CommanderError")) {
    process.stderr.write(`${describeFailure(error, process.argv.includes("--verbose"))}\n`);
  }
}
