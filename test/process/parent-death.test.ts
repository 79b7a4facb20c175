import { mkdtempSync, readFileSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { execa } from "execa";
import { afterEach, beforeAll, beforeEach, describe, expect, test } from "vitest";
import { buildIfStale } from "../support/build.ts";
import { childrenOf, isAlive, msUntil, socketDirectories } from "../support/processes.ts";
import { tinyCheckpoint } from "../support/tiny-checkpoints.ts";

const HOST = join(import.meta.dirname, "fixtures/host.mjs");

/** The kernel tells who is whose child only on Linux; the SDK's own death is noticed by the end of stdin everywhere. */
describe.runIf(process.platform === "linux")("a program that uses zipar", () => {
  let temporary: string;

  beforeAll(buildIfStale);
  beforeEach(() => {
    temporary = mkdtempSync(join(tmpdir(), "zipar-test-host-"));
  });
  afterEach(() => rmSync(temporary, { recursive: true }));

  /** Starts the program with its own directory for temporary files. */
  function startHost(...options: string[]) {
    const host = execa(process.execPath, [HOST, ...options], { env: { TMPDIR: temporary }, reject: false });
    const printed = async (pattern: RegExp): Promise<string> => {
      let output = "";
      for await (const chunk of host.stdout) {
        output += chunk;
        const found = pattern.exec(output);
        if (found) return found[1] as string;
      }
      throw new Error(`the host ended without a word: ${(await host).stderr}`);
    };
    return { host, printed };
  }

  async function expectNothingLeft(worker: number): Promise<void> {
    expect(await msUntil(() => !isAlive(worker), 2000)).toBeLessThan(1000);
    expect(socketDirectories(temporary)).toEqual([]);
  }

  test.each([
    ["keep", /(\d+)\n/],
    ["decode", /(\d+)\ndecoding/],
  ] as const)(
    "that is killed with SIGKILL (%s) leaves no worker and no directory behind",
    async (mode, pattern) => {
      const { host, printed } = startHost(mode);
      const worker = Number(await printed(pattern));
      expect(isAlive(worker)).toBe(true);
      host.kill("SIGKILL");
      await expectNothingLeft(worker);
    },
  );

  // A worker that has not run its first line yet can notice nothing; how long Python takes to come up depends on the load.
  test.each([0, 20, 60, 100, 150, 220, 400])(
    "that is killed %i ms after it started a worker leaves no worker and no directory behind",
    async (ms) => {
      const { host } = startHost("keep");
      await msUntil(() => childrenOf(host.pid as number).length > 0, 20_000);
      const [worker] = childrenOf(host.pid as number) as [number];
      await new Promise((resolve) => setTimeout(resolve, ms));
      host.kill("SIGKILL");
      await msUntil(() => !isAlive(worker), 10_000);
      await host;
      expect(socketDirectories(temporary)).toEqual([]);
    },
  );

  test("that is killed while the worker imports PyTorch and loads a checkpoint leaves no worker and no directory", async () => {
    const { host } = startHost("keep", tinyCheckpoint("4x4"));
    await msUntil(() => childrenOf(host.pid as number).length > 0, 20_000);
    const [worker] = childrenOf(host.pid as number) as [number];
    await msUntil(() => hasLoaded(worker, "torch"), 60_000);
    host.kill("SIGKILL");
    await expectNothingLeft(worker);
  });

  test.each(["leave", "generate-and-leave"])(
    "that ends with an idle engine (%s) ends by itself, with code 0, and leaves nothing",
    async (mode) => {
      const { host, printed } = startHost(mode);
      const worker = Number(await printed(/(\d+)\n/));
      const { exitCode, signal } = await host;
      expect([exitCode, signal]).toEqual([0, undefined]);
      await expectNothingLeft(worker);
    },
  );

  test.each(["SIGTERM", "SIGINT", "SIGHUP"] as const)(
    "that is ended by %s leaves no worker behind",
    async (signal) => {
      const { host, printed } = startHost("decode");
      const worker = Number(await printed(/(\d+)\ndecoding/));
      host.kill(signal);
      await expectNothingLeft(worker);
    },
  );
});

/** Whether a process has a library mapped: then its import has begun. */
function hasLoaded(pid: number, library: string): boolean {
  try {
    return readFileSync(`/proc/${pid}/maps`, "utf8").includes(`/${library}/`);
  } catch {
    return false;
  }
}
