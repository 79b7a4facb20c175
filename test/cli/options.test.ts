import { Command, type CommanderError } from "commander";
import { describe, expect, test } from "vitest";
import { exitCodeOf } from "../../src/cli/failure.ts";
import { addOptions, type OptionGroup } from "../../src/cli/option.ts";
import * as commands from "../../src/cli/options.ts";

const { DEMO, EVAL, GENERATE, INFO, PLAN, PROFILE, SERVE, WORKER } = commands;

/** What a command with these options gets from a command line. */
function parse(group: OptionGroup, line: string): Record<string, unknown> {
  const command = addOptions(new Command(), group)
    .exitOverride()
    .configureOutput({ writeErr() {} });
  return command.parse(line.split(" ").filter(Boolean), { from: "user" }).opts();
}

function refusal(group: OptionGroup, line: string): CommanderError {
  try {
    parse(group, line);
  } catch (error) {
    return error as CommanderError;
  }
  return expect.unreachable();
}

describe("options are read as", () => {
  test.each<[string, OptionGroup, Record<string, unknown>]>([
    ["--window 4", GENERATE, { window: 4 }],
    ["--window full", GENERATE, { window: "full" }],
    ["--window adaptive", GENERATE, { window: { kind: "adaptive" } }],
    ["--window adaptive:3", GENERATE, { window: { kind: "adaptive", min: 3 } }],
    ["--window guessed", GENERATE, { window: { kind: "guessed" } }],
    ["--window guessed:3", GENERATE, { window: { kind: "guessed", size: 3 } }],
    ["--windows guessed:3:1,2", EVAL, { windows: [{ kind: "guessed", size: 3, unchanged: 1 }, 2] }],
    ["--size 512", GENERATE, { size: { width: 512, height: 512 } }],
    ["--size 960x544", GENERATE, { size: { width: 960, height: 544 } }],
    ["--size 16:9", GENERATE, { size: "16:9" }],
    ["--class 207", GENERATE, { class: 207 }],
    ["--connect tcp://10.0.0.5:5555 --threads 3", WORKER, { threads: 3 }],
    ["", GENERATE, { threads: "auto" }],
    ["--workers 3", GENERATE, { workers: 3 }],
    ["--workers 2:16", SERVE, { workers: { min: 2, max: 16 } }],
    ["--class lighthouse", GENERATE, { class: "lighthouse" }],
    ["--weights-key ema", GENERATE, { weightsKey: "ema" }],
    ["--weights-key ema", INFO, { weightsKey: "ema" }],
    ["--guidance-interval 0.2:0.8", GENERATE, { guidanceInterval: [0.2, 0.8] }],
    ["--top-k 50 --temperature 1e-1", GENERATE, { topK: 50, temperature: 0.1 }],
    ["--no-image --insecure-plaintext", GENERATE, { image: false, insecurePlaintext: true }],
    ["--cuda-graphs", GENERATE, { cudaGraphs: true }],
    ["--cuda-graphs", SERVE, { cudaGraphs: true }],
    ["", GENERATE, { model: "demo", device: "auto", dtype: "auto", count: 1, image: true }],
    ["--images 1,3", INFO, { images: [1, 3] }],
    ["", INFO, { images: [1, 2, 4, 8] }],
    ["--rows 3 --columns 4 --window 2", PLAN, { rows: 3, columns: 4, window: 2, rowEnd: "none" }],
    ["--windows full,4,adaptive:2", EVAL, { windows: ["full", 4, { kind: "adaptive", min: 2 }] }],
    ["--prompt cat dog --prompt cow", PROFILE, { prompt: ["cat", "dog", "cow"] }],
    ["", SERVE, { host: "127.0.0.1", port: 7811, load: "start", maxQueue: 32, unknownSize: "refuse" }],
    ["--model demo --model b=x.pt", SERVE, { model: ["demo", "b=x.pt"] }],
    ["--cors-origin https://a --cors-origin https://b", SERVE, { corsOrigin: ["https://a", "https://b"] }],
    ["--connect tcp://a:1 --heartbeat-timeout 500", WORKER, { heartbeatTimeout: 500 }],
  ])("%s", (line, group, values) => {
    expect(parse(group, line)).toMatchObject(values);
  });
});

describe("bad values exit with 2 and say the option, what was received and what was expected", () => {
  test.each<[string, OptionGroup, string, string]>([
    [
      "--window abc",
      GENERATE,
      "--window <window>' argument 'abc'",
      'tokens, at least 1, "full", "guessed" or "adaptive"',
    ],
    ["--window 0", GENERATE, "--window <window>' argument '0'", "at least 1 token"],
    ["--window adaptive:0", GENERATE, "--window <window>' argument 'adaptive:0'", "0: expected at least 1"],
    [
      "--window guessed:1:2:3",
      GENERATE,
      "--window <window>' argument 'guessed:1:2:3'",
      "a whole number of tokens",
    ],
    [
      "--window guessed:x",
      GENERATE,
      "--window <window>' argument 'guessed:x'",
      '"x": expected a whole number',
    ],
    ["--window adaptive", PLAN, "--window <window>' argument 'adaptive'", 'at least 1, or "full"'],
    ["--size 16:0", GENERATE, "--size <size>' argument '16:0'", 'a ratio such as "16:9"'],
    ["--size 16:9", INFO, "--size <size>' argument '16:9'", "a size in pixels"],
    ["--class -3", GENERATE, "--class <label>' argument '-3'", "at least 0"],
    ["--guidance-interval 0.8:0.2", GENERATE, "--guidance-interval <from:to>' argument '0.8:0.2'", "larger"],
    ["--guidance-scale abc", GENERATE, "--guidance-scale <scale>' argument 'abc'", "Expected a number."],
    ["--top-k 1.5", GENERATE, "--top-k <k>' argument '1.5'", "Expected a whole number."],
    ["--top-p 2", GENERATE, "--top-p <p>' argument '2'", "at most 1"],
    ["--count 4097", GENERATE, "--count <count>' argument '4097'", "at most 4096"],
    ["--port 65536", SERVE, "--port <port>' argument '65536'", "at most 65535"],
    ["--timeout 0", SERVE, "--timeout <seconds>' argument '0'", "more than 0"],
    ["--load later", SERVE, "--load <when>' argument 'later'", 'Expected "start" or "demand"'],
    ["--device tpu", DEMO, "--device <device>' argument 'tpu'", '"cuda:N"'],
    ["--dtype int8", GENERATE, "--dtype <dtype>' argument 'int8'", '"bfloat16" or "float16"'],
    ["--images 4,0", INFO, "--images <counts>' argument '4,0'", "0: expected at least 1"],
    ["--windows full,foo", EVAL, "--windows <list>' argument 'full,foo'", '"foo": expected a whole number'],
    ["--samples-per-class 0", EVAL, "--samples-per-class <count>' argument '0'", "at least 1"],
    ["--window-quantile 1.5", PROFILE, "--window-quantile <share>' argument '1.5'", "at most 1"],
    ["--window-quantile 0", PROFILE, "--window-quantile <share>' argument '0'", "more than 0"],
    ["--samples 0", PROFILE, "--samples <count>' argument '0'", "at least 1"],
    ["--rows 3 --columns 4", PLAN, "required option '--window <window>'", "not specified"],
  ])("%s", (line, group, received, expected) => {
    const error = refusal(group, line);
    expect(exitCodeOf(error)).toBe(2);
    expect(error.message).toContain(received);
    expect(error.message).toContain(expected);
  });
});

test("every preset is a value that its option takes", () => {
  let count = 0;
  for (const [command, group] of Object.entries<OptionGroup>(commands)) {
    for (const [name, option] of Object.entries(group)) {
      if (!("schema" in option) || option.default === undefined) continue;
      expect(option.schema.safeParse(option.read(option.default)).success, `${command} ${name}`).toBe(true);
      count += 1;
    }
  }
  expect(count).toBeGreaterThan(20);
});
