import { Command } from "commander";
import { expect, test } from "vitest";
import { engineOptionsOf } from "../../src/cli/generate.ts";
import { addOptions, type ValuesOf } from "../../src/cli/option.ts";
import { GENERATE } from "../../src/cli/options.ts";

/** What the engine of `zipar generate` is told by a command line. */
function asked(line: string) {
  const command = addOptions(new Command(), GENERATE).parse(line.split(" "), { from: "user" });
  return engineOptionsOf(command.opts<ValuesOf<typeof GENERATE>>(), { show() {}, stop() {} });
}

test("what generate is told of the worker reaches the engine", () => {
  expect(
    asked("--device cuda:1 --workers 2 --dtype float16 --weights int8 --kv-cache int8 --cuda-graphs"),
  ).toMatchObject({
    device: "cuda:1",
    workers: 2,
    dtype: "float16",
    weights: "int8",
    kvCache: "int8",
    cudaGraphs: true,
  });
  expect(asked("--devices cuda:0,cuda:1")).toMatchObject({
    devices: ["cuda:0", "cuda:1"],
    device: undefined,
  });
  expect(asked("--listen tcp://127.0.0.1:0 --keys k --workers 2:3")).toMatchObject({
    worker: { listen: "tcp://127.0.0.1:0", keys: "k", min: 2, max: 3 },
  });
});
