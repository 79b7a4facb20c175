import { spawnSync } from "node:child_process";
import { readFileSync } from "node:fs";
import { dirname, join } from "node:path";
import process from "node:process";
import { execa } from "execa";
import { expect, inject, test } from "vitest";
import { packageRoot } from "#zipar/python/location";

const path = join(packageRoot, "docker/Dockerfile");
const hadolint = join(dirname(process.env["ZIPAR_CLIENTS_PYTHON"] ?? ""), "hadolint");
const hasDocker = spawnSync("docker", ["info"]).status === 0;

const paths = [path, join(packageRoot, "docker/ray.Dockerfile")];
test.each(paths)("hadolint has nothing to say of %s", async (path) => {
  // Debian takes old versions of its packages away: one that is pinned cannot be installed after its next correction.
  const { exitCode, all } = await execa(hadolint, ["--ignore", "DL3008", path], { all: true, reject: false });
  expect(all).toBe("");
  expect(exitCode).toBe(0);
});

test("the health check knows a server that is ready from one that is not there", async () => {
  const [, list = ""] = /^ {2}CMD (\[.*\])$/m.exec(readFileSync(path, "utf8")) ?? [];
  const [, flag, program] = JSON.parse(list) as readonly string[];
  const check = (address: string) =>
    execa(process.execPath, [flag as string, (program as string).replace("http://127.0.0.1:7811", address)], {
      reject: false,
    });
  expect((await check(inject("address"))).exitCode).toBe(0);
  expect((await check("http://127.0.0.1:1")).exitCode).toBe(1);
});

const name = `the image can be built, and runs${hasDocker ? "" : " (NOT RUN: there is no Docker here)"}`;
test.skipIf(!hasDocker)(name, { timeout: 1_800_000 }, async () => {
  await execa("docker", ["build", "-q", "-f", path, "-t", "zipar-test", packageRoot]);
  const { stdout } = await execa("docker", ["run", "--rm", "zipar-test", "--help"]);
  expect(stdout).toMatch(/--api-key-file/);
});
