import { execFileSync } from "node:child_process";
import { readFileSync } from "node:fs";
import { join } from "node:path";
import { expect, test } from "vitest";
import { createProgram } from "../../src/cli/program.ts";
import { packageRoot } from "../../src/python/location.ts";

const page = readFileSync(join(packageRoot, "docs/clusters.md"), "utf8");
const scripts = Array.from(page.matchAll(/```sh\n(.*?)```/gs), ([, script]) => script as string);

test("the scripts of the page on clusters are scripts that bash can read", () => {
  expect(scripts).toHaveLength(7);
  for (const script of scripts) execFileSync("bash", ["-n"], { input: script });
});

test("the page on clusters starts workers with options that zipar worker has", () => {
  const worker = createProgram("0").commands.find((known) => known.name() === "worker");
  const known = worker?.options.map(({ long }) => long);
  const commands = scripts.flatMap((script) => script.match(/npx zipar worker [^'\n]*/g) ?? []);
  expect(commands).toHaveLength(3);
  for (const command of commands) {
    const used = command.match(/--[a-z-]+/g) ?? [];
    expect(used).toEqual(expect.arrayContaining(["--connect", "--keys"]));
    expect(known).toEqual(expect.arrayContaining(used));
  }
});
