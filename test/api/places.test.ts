import { beforeEach, describe, expect, test, vi } from "vitest";
import type { EngineOptions } from "../../src/api/engine-options.ts";
import { resolveEngineOptions } from "../../src/api/engine-options.ts";
import { placesOf } from "../../src/api/places.ts";
import { stubWorker } from "../../src/index.ts";
import { ziparErrorOf } from "../support/errors.ts";

const machine = vi.hoisted(() => ({ gpus: [] as (string | null)[], asked: 0 }));

vi.mock("../../src/python/environment.ts", () => ({ requirePython: () => ({}) }));
vi.mock("../../src/python/probe.ts", () => ({
  probePython: async () => {
    machine.asked += 1;
    return { cudaDevices: machine.gpus.map((problem) => ({ problem })), gpuProblem: null };
  },
}));

const worker = stubWorker({ rows: 4, columns: 4 });
const placed = async (options: EngineOptions) =>
  (await placesOf(resolveEngineOptions({ worker, ...options }))).devices;

beforeEach(() => {
  machine.gpus = [];
  machine.asked = 0;
});

describe("a model is split", () => {
  test("over the devices that a group names", async () => {
    const groups: EngineOptions["devices"] = [["cuda:0", "cuda:1"], ["cuda:3", "cuda:2"], "cuda:4+cuda:5"];
    expect(await placed({ devices: groups })).toEqual(["cuda:0+cuda:1", "cuda:3+cuda:2", "cuda:4+cuda:5"]);
    expect(await placed({ device: "cuda:0+cuda:1", workers: 1 })).toEqual(["cuda:0+cuda:1"]);
    expect(await placed({ devices: [["cuda:1"], "cpu"] })).toEqual(["cuda:1", "cpu"]);
    expect(machine.asked).toBe(0);
  });

  test("over the first GPUs that can be used, others for each worker", async () => {
    machine.gpus = [null, "too old", null, null, null];
    expect(await placed({ tensorParallel: 2 })).toEqual(["cuda:0+cuda:2"]);
    expect(await placed({ tensorParallel: 2, device: "cuda", workers: 2 })).toEqual([
      "cuda:0+cuda:2",
      "cuda:3+cuda:4",
    ]);
    expect(await placed({ tensorParallel: 2, devices: "all" })).toEqual(["cuda:0+cuda:2", "cuda:3+cuda:4"]);
  });

  test("over processes on the CPU where that is meant, or where there is no GPU", async () => {
    expect(await placed({ tensorParallel: 2 })).toEqual(["cpu+cpu"]);
    machine.gpus = [null, null];
    expect(await placed({ tensorParallel: 3, device: "cpu" })).toEqual(["cpu+cpu+cpu"]);
  });

  test("over none where it says one device, which nobody looks for", async () => {
    expect(await placed({ tensorParallel: 1, device: "cuda:3" })).toEqual(["cuda:3"]);
    expect(machine.asked).toBe(0);
  });

  test.each<[EngineOptions, string, string]>([
    [{ tensorParallel: 4 }, "device", "4 GPUs are needed for a model over 4 of them: PyTorch can use 3 here"],
    [{ tensorParallel: 2, workers: 2 }, "device", "4 GPUs are needed for a model over 2 of them, 2 times"],
    [{ tensorParallel: 2, devices: "all" }, "device", "the 3 GPUs here are not in groups of 2"],
    [{ tensorParallel: 2, device: "cuda:1" }, "invalid-options", 'leave "cuda:1" out'],
    [{ tensorParallel: 2, device: "cpu+cpu" }, "invalid-options", 'leave "cpu+cpu" out'],
    [{ tensorParallel: 2, devices: ["cuda:0"] }, "invalid-options", "leave `tensorParallel` out"],
    [{ tensorParallel: 17 }, "invalid-options", "tensorParallel"],
    [{ tensorParallel: 0 }, "invalid-options", "tensorParallel"],
    [{ devices: [["cuda:0", "cuda:0"]] }, "invalid-options", "2 to 16 different GPUs"],
    [{ devices: [["cuda:0", "cpu"]] }, "invalid-options", "2 to 16 different GPUs"],
    [{ devices: [["auto", "cuda:1"]] }, "invalid-options", "2 to 16 different GPUs"],
    [{ devices: [[]] as unknown as string[][] }, "invalid-options", "devices"],
    [
      { tensorParallel: 2, worker: { listen: "tcp://127.0.0.1:0", token: "x".repeat(16) } },
      "invalid-options",
      "`zipar worker --device`, `--tensor-parallel`",
    ],
  ])("never as %j asks", async (options, code, message) => {
    machine.gpus = [null, null, null];
    const error = await ziparErrorOf(() => placed(options));
    expect([error.code, error.message]).toEqual([code, expect.stringContaining(message)]);
  });
});
