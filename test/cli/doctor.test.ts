import { expect, test } from "vitest";
import { describeProbe } from "../../src/cli/doctor.ts";
import type { PythonProbe } from "../../src/python/probe.ts";

const PROBE: PythonProbe = {
  python: "3.12.1",
  torch: "2.13.0+cu130",
  cuda: "13.0",
  cudaDevices: [],
  gpuProblem: null,
  threads: { count: 2, reason: "a quota of 2 processors, 64 cores" },
  memory: {
    freeBytes: 2 ** 30,
    limit: "the memory limit of 2.00 GiB of the control group (container) /sys/fs/cgroup",
  },
};

function findingOf(name: string, change: Partial<PythonProbe> = {}) {
  return describeProbe({ ...PROBE, ...change }).find((finding) => finding.name === name);
}

test("doctor names a GPU that cannot be used, and what to do about it", () => {
  const gpuProblem = {
    found: "the NVIDIA driver 550.54.15 is too old for PyTorch 2.13.0+cu130",
    remedy: "Install another build of PyTorch: `UV_TORCH_BACKEND=cu126 npx zipar setup`.",
  };
  expect(findingOf("devices", { gpuProblem })).toEqual({
    name: "devices",
    state: "warning",
    found: `cpu alone: ${gpuProblem.found}`,
    remedy: gpuProblem.remedy,
  });
});

test("doctor tells usable GPUs from others", () => {
  const old = { name: "Tesla P100", memoryBytes: 16 * 2 ** 30, problem: "no code for it" };
  const cudaDevices = [old, { name: "H200", memoryBytes: 140 * 2 ** 30, problem: null }];
  expect(findingOf("devices", { cudaDevices })).toMatchObject({
    state: "good",
    found: "cuda:0 Tesla P100 (16 GiB), which cannot be used, cuda:1 H200 (140 GiB)",
  });
  const two = [...cudaDevices, { name: "H200", memoryBytes: 140 * 2 ** 30, problem: null }];
  expect(findingOf("devices", { cudaDevices: two })?.found).toMatch(
    /cuda:2 H200 \(140 GiB\); --tensor-parallel splits one model over several$/,
  );
  expect(findingOf("devices")?.found).toBe("cpu alone; no GPU was found");
  expect(findingOf("devices", { cuda: null })?.found).toContain("a build without CUDA");
});

test("doctor says how many threads compute and how much memory is free, and what limits both", () => {
  expect(findingOf("threads")?.found).toBe("2 on the CPU: a quota of 2 processors, 64 cores");
  expect(findingOf("memory")?.found).toMatch(/^1\.00 GiB free on the CPU, by the memory limit of 2\.00 GiB/);
  expect(findingOf("memory", { memory: { freeBytes: 2 ** 30, limit: null } })?.found).toBe(
    "1.00 GiB free on the CPU",
  );
  expect(findingOf("memory", { memory: null })?.found).toContain("not known");
});
