import { chmodSync, mkdirSync, mkdtempSync, rmSync, symlinkSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { afterAll, beforeAll, describe, expect, test } from "vitest";
import { chosenInterpreter } from "../../src/python/chosen-interpreter.ts";
import type { Machine } from "../../src/python/location.ts";

describe.runIf(process.platform !== "win32")("ZIPAR_PYTHON", () => {
  let folder: string;
  let machine: Machine;

  beforeAll(() => {
    folder = mkdtempSync(join(tmpdir(), "zipar-test-chosen-"));
    machine = { platform: "linux", home: folder, variables: { PATH: join(folder, "venv", "bin") } };
    program("venv/bin/python");
    program("system/bin/python3");
    program("venv/bin/conda");
    writeFileSync(join(folder, "plain"), "");
    mkdirSync(join(folder, "empty"));
    mkdirSync(join(folder, "dangling", "bin"), { recursive: true });
    symlinkSync("/gone/python3", join(folder, "dangling", "bin", "python"));
  });
  afterAll(() => rmSync(folder, { recursive: true }));

  function program(path: string): void {
    mkdirSync(join(folder, path, ".."), { recursive: true });
    writeFileSync(join(folder, path), "");
    chmodSync(join(folder, path), 0o755);
  }

  test.each([
    ["venv/bin/python", "venv/bin/python"],
    ["venv", "venv/bin/python"],
    ["venv/", "venv/bin/python"],
    ["venv/bin", "venv/bin/python"],
    ["system", "system/bin/python3"],
  ])("may be %s", (chosen, python) => {
    expect(chosenInterpreter(`${folder}/${chosen}`, machine)).toEqual({ python: join(folder, python) });
    expect(chosenInterpreter(`~/${chosen}`, machine)).toEqual({ python: join(folder, python) });
  });

  test("may be a name on PATH", () => {
    expect(chosenInterpreter("python", machine)).toEqual({ python: join(folder, "venv/bin/python") });
  });

  test.each([
    ["/no/such/python", "and there is no such program"],
    ["$/empty", "a folder without a Python"],
    ["$/dangling", "a link to /gone/python3, which is gone"],
    ["$/dangling/bin/python", "which is a link to /gone/python3, which is gone"],
    ["$/plain", "no program that this user may execute"],
    ["uv run python", "a command with arguments"],
    ["$/venv/bin/conda run python", "a command with arguments"],
    ["/my folder/no python", "and there is no such program"],
    ["~ada/python", "the `~` in it is not known here"],
  ])("that is %s is refused: %s", (chosen, objection) => {
    const found = chosenInterpreter(chosen.replace("$", folder), machine);
    expect("reason" in found ? found.reason : "").toContain(objection);
    expect(found).toHaveProperty("reason", expect.stringContaining("Set it to a Python interpreter"));
  });
});
