import { readdirSync, readFileSync } from "node:fs";
import { join } from "node:path";
import { describe, expect, test } from "vitest";
import { isolatedVariables, runsModule } from "../../src/python/isolation.ts";
import { packageRoot } from "../../src/python/location.ts";

describe("the variables of an interpreter", () => {
  const given = { PATH: "/bin", USER: "ada", HOME: "/home/ada", PYTHONPATH: "/site", PYTHONHOME: "/usr" };

  test("are the user's, without those that are meant for Python", () => {
    const more = { PYTHON_JIT: "1", pythonpath: "/other", __PYVENV_LAUNCHER__: "/x", PYTORCH_JIT: "0" };
    expect(isolatedVariables("managed", { ...given, ...more })).toEqual({
      PATH: "/bin",
      USER: "ada",
      HOME: "/home/ada",
      PYTORCH_JIT: "0",
      PYTHONSAFEPATH: "1",
      PYTHONNOUSERSITE: "1",
    });
  });

  test("keep PYTHONPATH for an interpreter that the user manages, and nothing else", () => {
    const { PYTHONPATH, PYTHONHOME } = isolatedVariables("ZIPAR_PYTHON", given);
    expect({ PYTHONPATH, PYTHONHOME }).toEqual({ PYTHONPATH: "/site", PYTHONHOME: undefined });
  });

  test.each([{}, { USER: "", LOGNAME: "" }])("name a user where %o does not", (account) => {
    expect(isolatedVariables("managed", account).LOGNAME).toMatch(/^uid-/);
  });
});

test("a package's folder is a parameter of its own, whatever is in its name", () => {
  expect(runsModule("zipar_worker", "/a:b c")).toEqual([
    ...["-I", "-u", "-X", "utf8"],
    join(packageRoot, "python-worker", "start.py"),
    "/a:b c",
    "zipar_worker",
  ]);
});

test("nothing but isolation.ts says how a module of Python is run", () => {
  const sources = readdirSync(join(packageRoot, "src"), { recursive: true, encoding: "utf8" });
  const others = sources.filter(
    (path) =>
      path.endsWith(".ts") &&
      path !== join("python", "isolation.ts") &&
      /"-m"|PYTHONPATH/.test(readFileSync(join(packageRoot, "src", path), "utf8")),
  );
  expect(others).toEqual([]);
});
