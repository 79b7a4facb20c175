import { copyFileSync, mkdirSync, mkdtempSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { dirname, join } from "node:path";
import { execa } from "execa";
import { afterAll, beforeAll, expect, test } from "vitest";
import { packageRoot } from "../../src/python/location.ts";

/** Directions that Biome must report: [file, what it imports]. */
const forbidden = [
  ["src/schedule/x.ts", "zod"],
  ["src/schedule/x.ts", "node:crypto"],
  ["src/schedule/x.ts", "../protocol/messages.ts"],
  ["src/schedule/x.ts", "../decode/loop.ts"],
  ["src/protocol/x.ts", "../schedule/grid.ts"],
  ["src/protocol/x.ts", "../worker/process.ts"],
  ["src/decode/x.ts", "../worker/socket.ts"],
  ["src/decode/x.ts", "../python/environment.ts"],
  ["src/decode/x.ts", "../stub/source.ts"],
  ["src/decode/x.ts", "../api/generate-options.ts"],
  ["src/api/x.ts", "../cli/main.ts"],
  ["src/api/x.ts", "../server/server.ts"],
  ["src/api/x.ts", "hono"],
  ["src/api/x.ts", "../ai-sdk/index.ts"],
  ["src/server/x.ts", "../ai-sdk/index.ts"],
  ["src/ai-sdk/x.ts", "../server/server.ts"],
  ["src/decode/x.ts", "../server/server.ts"],
  ["src/server/x.ts", "../cli/main.ts"],
  ["src/worker/x.ts", "../cli/main.ts"],
  ["src/worker/x.ts", "../api/engine.ts"],
  ["src/worker/remote/x.ts", "../../api/engine-options.ts"],
  ["src/stub/x.ts", "../api/generate-options.ts"],
  ["src/stub/x.ts", "../cli/main.ts"],
  ["src/python/x.ts", "../worker/process.ts"],
  ["src/studio/x.ts", "node:fs"],
  ["src/studio/x.ts", "zod"],
  ["src/studio/x.ts", "../errors.ts"],
  ["src/studio/x.ts", "../server/server.ts"],
  ["src/studio/x.ts", "../schedule/plan-step.ts"],
  ["src/studio/page/x.ts", "../../server/generation-events.ts"],
  ["src/server/x.ts", "../studio/wish.ts"],
  ["src/api/x.ts", "../studio/wish.ts"],
] as const;

const allowed = [
  ["src/schedule/x.ts", "./grid.ts"],
  ["src/schedule/x.ts", "../errors.ts"],
  ["src/protocol/x.ts", "zod"],
  ["src/decode/x.ts", "./worker.ts"],
  ["src/worker/x.ts", "../decode/worker.ts"],
  ["src/worker/x.ts", "../python/environment.ts"],
  ["src/api/x.ts", "../schedule/grid.ts"],
  ["src/cli/x.ts", "./main.ts"],
  ["src/cli/x.ts", "../server/server.ts"],
  ["src/server/x.ts", "hono/cors"],
  ["src/server/x.ts", "../api/engine.ts"],
  ["src/studio/x.ts", "./events.ts"],
  ["src/studio/x.ts", "../schedule/grid.ts"],
  ["src/studio/x.ts", "../server/generation-events.ts"],
  ["src/studio/page/x.ts", "../wish.ts"],
  ["src/studio/page/x.ts", "./api.ts"],
] as const;

/** Files that import types of each other: a pair, a ring of three, and one that imports from the ring and is in none. */
const circle = {
  "src/api/one.ts": "../decode/other.ts",
  "src/decode/other.ts": "../api/one.ts",
  "src/trace/first.ts": "./second.ts",
  "src/trace/second.ts": "./third.ts",
  "src/trace/third.ts": "./first.ts",
  "src/trace/apart.ts": "./first.ts",
} as const;

const project = mkdtempSync(join(tmpdir(), "zipar-lint-"));
let report: string;

beforeAll(async () => {
  copyFileSync(join(packageRoot, "biome.json"), join(project, "biome.json"));
  for (const [index, [file, imported]] of [...forbidden, ...allowed].entries())
    writeSource(file, index, `import { x } from "${imported}";\nexport const y = x;\n`);
  for (const file of ["src/speaks.ts", "src/cli/speaks.ts"]) writeSource(file, 0, 'console.log("x");\n');
  for (const [file, imported] of Object.entries(circle))
    writeSource(file, 0, `import type { X } from "${imported}";\nexport type Y = X;\nexport type X = 1;\n`);
  const { all } = await execa("biome", ["lint", "--max-diagnostics=none", "--colors=off"], {
    cwd: project,
    preferLocal: true,
    localDir: packageRoot,
    reject: false,
    all: true,
  });
  report = all;
});
afterAll(() => rmSync(project, { recursive: true, force: true }));

test.each(forbidden.map((entry, index) => [...entry, index] as const))(
  "%s may not import %s",
  (file, _, index) => {
    expect(reported(file, index)).toContain("noRestrictedImports");
  },
);

test.each(allowed.map((entry, index) => [...entry, forbidden.length + index] as const))(
  "%s may import %s",
  (file, _, index) => {
    expect(reported(file, index)).not.toContain("noRestrictedImports");
  },
);

test("files that import each other are reported, be it for types alone", () => {
  const inCircles = Object.keys(circle).filter((file) => reported(file, 0).includes("noImportCycles"));
  expect(inCircles).toEqual(Object.keys(circle).filter((file) => file !== "src/trace/apart.ts"));
});

test("only the command line writes to the console", () => {
  expect(reported("src/speaks.ts", 0)).toContain("noConsole");
  expect(reported("src/cli/speaks.ts", 0)).not.toContain("noConsole");
});

/** Files called x.ts stand for any; the others have rules of their own. */
function nameOf(file: string, index: number): string {
  return file.endsWith("/x.ts") ? file.replace("x.ts", `x${index}.ts`) : file;
}

function writeSource(file: string, index: number, source: string): void {
  const path = join(project, nameOf(file, index));
  mkdirSync(dirname(path), { recursive: true });
  writeFileSync(path, source);
}

/** The rules that Biome reports for a file. */
function reported(file: string, index: number): readonly string[] {
  return report
    .split("\n")
    .filter((line) => line.startsWith(`${nameOf(file, index)}:`))
    .map((line) => /lint\/\w+\/(\w+)/.exec(line)?.[1] ?? line);
}
