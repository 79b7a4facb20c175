import { join } from "node:path";
import { execa } from "execa";
import { beforeAll, expect, test } from "vitest";
import { buildIfStale } from "../support/build.ts";
import { PACKAGE_ROOT } from "../support/python.ts";

const BROKEN = join(import.meta.dirname, "fixtures/without-native-modules.mjs");

beforeAll(buildIfStale);

test("zipar doctor says what cannot be loaded on this machine", async () => {
  const { stdout, exitCode } = await execa(
    process.execPath,
    ["--import", BROKEN, join(PACKAGE_ROOT, "dist/cli/main.js"), "doctor", "--json"],
    { env: { ZIPAR_PYTHON: "/nonexistent/python" }, reject: false },
  );
  expect(exitCode).toBe(1);
  const { works, findings } = JSON.parse(stdout);
  expect(works).toBe(false);
  for (const name of ["zeromq", "sharp"]) {
    expect(findings).toContainEqual(
      expect.objectContaining({
        name,
        state: "problem",
        found: `cannot be loaded: no native build of ${name}`,
      }),
    );
  }
});
