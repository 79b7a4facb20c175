import { join } from "node:path";
import { execa } from "execa";
import { beforeAll, describe, expect, test } from "vitest";
import { buildIfStale } from "../support/build.ts";
import { PACKAGE_ROOT } from "../support/python.ts";

const FIXTURES = join(import.meta.dirname, "fixtures");
const BROKEN = ["--import", join(FIXTURES, "without-native-modules.mjs")];
/** Any program that exists: nothing here may come so far as to start it. */
const env = { ZIPAR_PYTHON: process.execPath };

beforeAll(buildIfStale);

function node(...parameters: readonly string[]) {
  return execa(process.execPath, parameters, { cwd: PACKAGE_ROOT, env, reject: false });
}

describe("where native modules cannot be loaded", () => {
  test("what needs none works, and the rest says which one and what to do", async () => {
    const { stdout, stderr } = await node(...BROKEN, join(FIXTURES, "needs-no-native-module.mjs"));
    expect(stderr).toBe("");
    const missing = (name: string) => ({
      code: "native-module",
      message: expect.stringMatching(`${name}.*no native build of ${name}.*npm install.*--libc=musl`),
    });
    expect(JSON.parse(stdout)).toEqual({
      planned: 12,
      rows: 4,
      pixels: 48 * 32 * 3,
      replayed: true,
      encode: missing("sharp"),
      save: missing("sharp"),
      start: missing("zeromq"),
    });
  });

  test.each([
    [["--version"], 0, /^\d/],
    [["plan", "--rows", "8", "--columns", "8", "--window", "2"], 0, /forwards/],
    [["info"], 1, /^zipar: zeromq.*cannot be loaded/],
  ] as const)("zipar %j", async (parameters, exitCode, says) => {
    const outcome = await node(...BROKEN, join(PACKAGE_ROOT, "dist/cli/main.js"), ...parameters);
    expect(outcome.stdout + outcome.stderr).toMatch(says);
    expect(outcome.stdout + outcome.stderr).not.toMatch(/^ +at /m);
    expect(outcome.exitCode).toBe(exitCode);
  });
});

test("`require` gives the same package to CommonJS", async () => {
  const { stdout } = await node(
    "--eval",
    'console.log(require("zipar").plan({ rows: 4, columns: 6, window: 2 }).forwards)',
  );
  expect(stdout).toBe("12");
});

test("in a worker thread, an engine refuses what would abort the program, unless it is told otherwise", async () => {
  const script = `
    const { createEngine, stubProcess, stubWorker } = await import("zipar");
    await (await createEngine({ worker: stubWorker() })).dispose();
    console.log(await createEngine({ worker: stubProcess() }).catch(({ code, message }) => code + ": " + message));
    process.env.ZIPAR_ANY_RUNTIME = "1";
    console.log(await createEngine({ worker: stubProcess() }).catch(({ code }) => code));`;
  const { stdout } = await node(
    "--eval",
    `new (require("node:worker_threads").Worker)(${JSON.stringify(script)}, { eval: true })`,
  );
  const [refused, tried] = stdout.split("\n");
  expect(refused).toMatch(/^native-module: .*worker thread.*ZIPAR_ANY_RUNTIME=1/);
  expect(tried).toMatch(/^(worker-|python-environment)/); // it came as far as to start the program
});
