import {
  existsSync,
  mkdtempSync,
  readdirSync,
  readFileSync,
  rmSync,
  symlinkSync,
  writeFileSync,
} from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { afterEach, beforeEach, describe, expect, test } from "vitest";
import { exitCodeOf } from "../../src/cli/failure.ts";
import { traceWriter } from "../../src/cli/trace-writer.ts";
import { ziparErrorOf } from "../support/errors.ts";

let folder: string;
let path: string;
beforeEach(() => {
  folder = mkdtempSync(join(tmpdir(), "zipar-test-trace-writer-"));
  path = join(folder, "a.jsonl");
});
afterEach(() => rmSync(folder, { recursive: true }));

describe("a trace file", () => {
  test("has each line as soon as it comes, in the place of an older trace", () => {
    writeFileSync(path, "an older and longer trace\n");
    const write = traceWriter(path);
    write("header");
    expect(readFileSync(path, "utf8")).toBe("header\n");
    write("forward 1");
    expect(readFileSync(path, "utf8")).toBe("header\nforward 1\n");
  });

  test("of a run that never began is neither left empty nor emptied", () => {
    traceWriter(path);
    expect(readdirSync(folder)).toEqual([]);
    writeFileSync(path, "old");
    traceWriter(path);
    expect(readFileSync(path, "utf8")).toBe("old");
  });

  test.skipIf(process.platform === "win32")("goes through a link that leads nowhere yet", () => {
    symlinkSync("real.jsonl", path);
    const write = traceWriter(path);
    expect(readdirSync(folder)).toEqual(["a.jsonl"]);
    write("header");
    expect(readFileSync(join(folder, "real.jsonl"), "utf8")).toBe("header\n");
  });

  test("that cannot be written is refused in words", async () => {
    const error = await ziparErrorOf(() => traceWriter(join(folder, "none", "a.jsonl"))("header"));
    expect([error.code, exitCodeOf(error)]).toEqual(["trace", 2]);
    expect(error.message).toContain("its folder does not exist");
  });

  test.runIf(existsSync("/dev/full"))("on a full disk is a failure of the machine", async () => {
    const error = await ziparErrorOf(() => traceWriter("/dev/full")("header"));
    expect([error.code, exitCodeOf(error)]).toEqual(["trace", 1]);
    expect(error.message).toContain("--trace /dev/full: cannot write it: no space is left");
  });
});
