import { expect, test, vi } from "vitest";
import { createEngine } from "../../src/api/engine.ts";
import { createProgram } from "../../src/cli/program.ts";

vi.mock(import("../../src/api/engine.ts"), async (original) => ({
  ...(await original()),
  createEngine: vi.fn(() => Promise.reject(new Error("no engine here"))),
}));

test("what generate is told of the worker reaches the engine", async () => {
  const line = "--device cuda:1 --workers 2 --dtype float16 --weights int8 --kv-cache int8 --cuda-graphs";
  const running = createProgram("1.2.3").parseAsync(`node zipar generate cat --no-image ${line}`.split(" "));
  await expect(running).rejects.toThrow("no engine here");
  const asked = { device: "cuda:1", workers: 2, dtype: "float16", weights: "int8", kvCache: "int8" };
  expect(createEngine).toHaveBeenCalledExactlyOnceWith(
    expect.objectContaining({ ...asked, cudaGraphs: true }),
  );
});
