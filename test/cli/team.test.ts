import { expect, test } from "vitest";
import { teamOf } from "../../src/cli/team.ts";

const NONE = {
  device: "auto",
  devices: undefined,
  tensorParallel: undefined,
  workers: undefined,
  listen: undefined,
  keys: undefined,
  tokenFile: undefined,
  insecurePlaintext: undefined,
} as const;
const LISTEN = { listen: "tcp://10.0.0.5:5555", keys: "keys/engine" };

test("the workers of a command line are those of createEngine", () => {
  expect(teamOf(NONE)).toEqual({ device: "auto" });
  expect(teamOf({ ...NONE, device: "cpu", workers: 2 })).toEqual({ device: "cpu", workers: 2 });
  expect(teamOf({ ...NONE, devices: ["cuda:0", "cuda:1"] })).toEqual({ devices: ["cuda:0", "cuda:1"] });
  expect(teamOf({ ...NONE, tensorParallel: 2 })).toEqual({ device: "auto", tensorParallel: 2 });
  expect(teamOf({ ...NONE, ...LISTEN })).toEqual({ device: "auto", worker: LISTEN });
  expect(teamOf({ ...NONE, ...LISTEN, workers: 3 })).toEqual({
    device: "auto",
    worker: { ...LISTEN, min: 3 },
  });
  expect(teamOf({ ...NONE, ...LISTEN, workers: { min: 2, max: 16 } })).toEqual({
    device: "auto",
    worker: { ...LISTEN, min: 2, max: 16 },
  });
});
