import { mkdtempSync, readdirSync, readFileSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { execa } from "execa";
import { afterEach, beforeAll, beforeEach, describe, expect, test } from "vitest";
import { buildIfStale } from "../support/build.ts";
import { childrenOf, isAlive, msUntil, socketDirectories } from "../support/processes.ts";
import { PACKAGE_ROOT } from "../support/python.ts";
import { tinyCheckpoint } from "../support/tiny-checkpoints.ts";

/** More images than are decoded together: others are in their middle when the first are finished. */
const GENERATE = ["generate", "--device", "cpu", "--class", "2", "--window", "full", "--count", "40"];

describe.runIf(process.platform === "linux")("zipar generate that is interrupted", () => {
  let temporary: string;
  let out: string;

  beforeAll(buildIfStale);
  beforeEach(() => {
    temporary = mkdtempSync(join(tmpdir(), "zipar-test-interrupt-"));
    out = join(temporary, "out");
  });
  afterEach(() => rmSync(temporary, { recursive: true }));

  function startCommand() {
    const command = execa(
      process.execPath,
      [join(PACKAGE_ROOT, "dist/cli/main.js"), ...GENERATE, "--model", tinyCheckpoint("9x9"), "--out", out],
      {
        env: { TMPDIR: temporary, OMP_NUM_THREADS: "1" },
        reject: false,
      },
    );
    return { command, files: () => (readdirSync(temporary).includes("out") ? readdirSync(out) : []) };
  }

  test.each(["SIGINT", "SIGTERM"] as const)(
    "by %s saves what is finished, says how much that is, exits with 130 and leaves no worker",
    async (signal) => {
      const { command, files } = startCommand();
      await msUntil(() => files().length > 0, 100_000);
      const [worker] = childrenOf(command.pid as number) as [number];
      command.kill(signal);
      const { exitCode, stderr, stdout } = await command;
      expect(exitCode).toBe(130);
      const saved = files();
      expect(saved.length).toBeGreaterThan(0);
      expect(saved.length).toBeLessThan(40);
      expect(stderr).toContain(`${saved.length} of 40 images were finished and are saved`);
      expect(stdout.match(/forwards instead of/g)).toHaveLength(saved.length);
      for (const file of saved) expect(readFileSync(join(out, file)).subarray(1, 4).toString()).toBe("PNG");
      expect(isAlive(worker)).toBe(false);
      expect(socketDirectories(temporary)).toEqual([]);
    },
  );

  test("twice ends at once, whatever its worker does", async () => {
    const { command } = startCommand();
    await msUntil(() => childrenOf(command.pid as number).length > 0, 20_000);
    const [worker] = childrenOf(command.pid as number) as [number];
    await new Promise((resolve) => setTimeout(resolve, 1500));
    process.kill(worker, "SIGSTOP");
    command.kill("SIGINT");
    await new Promise((resolve) => setTimeout(resolve, 50));
    const startedAt = performance.now();
    command.kill("SIGINT");
    const { exitCode } = await command;
    expect(exitCode).toBe(130);
    expect(performance.now() - startedAt).toBeLessThan(500);
    await msUntil(() => !isAlive(worker), 2000);
  });
});
