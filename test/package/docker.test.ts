import { existsSync, readFileSync } from "node:fs";
import { join } from "node:path";
import { expect, test } from "vitest";
import { createProgram } from "../../src/cli/program.ts";
import { packageRoot } from "../../src/python/location.ts";

const dockerfile = readFileSync(join(packageRoot, "docker/Dockerfile"), "utf8");
const page = readFileSync(join(packageRoot, "docs/docker.md"), "utf8");

/** The words of an instruction in its form of JSON. */
function words(instruction: string): readonly string[] {
  const [, list = "[]"] = new RegExp(`^\\s*${instruction} (\\[.*\\])$`, "m").exec(dockerfile) ?? [];
  return JSON.parse(list);
}

test("what the image runs is a command of this version, and so is each option", () => {
  const [tini, separator, program, command, ...options] = [...words("ENTRYPOINT"), ...words("CMD")].slice(
    0,
    -1,
  );
  expect([tini, separator, program]).toEqual(["tini", "--", "node_modules/.bin/zipar"]);
  const serve = createProgram("0").commands.find((known) => known.name() === command);
  const known = serve?.options.map(({ long }) => long);
  expect(known).toEqual(expect.arrayContaining(options.filter((word) => word.startsWith("--"))));
  expect(known).toEqual(expect.arrayContaining(["--stop-deadline", "--allowed-host", "--weights"]));
});

test("the scripts and the versions that it names are there", () => {
  const scripts = JSON.parse(readFileSync(join(packageRoot, "package.json"), "utf8")).scripts;
  for (const [, script = ""] of dockerfile.matchAll(/npm run (\S+)/g)) expect(scripts).toHaveProperty(script);
  expect(dockerfile.match(/^FROM node:24-\S+/gm)).toHaveLength(2);
});

test("what is built and what is ignored lies where the page says", () => {
  const clusters = readFileSync(join(packageRoot, "docs/clusters.md"), "utf8");
  const paths = [...`${page}${clusters}`.matchAll(/docker build -f (\S+)/g)];
  expect(paths).toHaveLength(3);
  for (const [, path = ""] of paths) {
    expect(existsSync(join(packageRoot, path))).toBe(true);
    expect(existsSync(join(packageRoot, `${path}.dockerignore`))).toBe(true);
  }
});
