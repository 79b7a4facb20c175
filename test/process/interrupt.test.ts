import { mkdirSync, mkdtempSync, readdirSync, readFileSync, rmSync, writeFileSync } from "node:fs";
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

  test.each([
    ["SIGINT", 130],
    ["SIGHUP", 129],
  ] as const)(
    "by %s saves what is finished, says how much that is, exits with %i and leaves no worker",
    async (signal, code) => {
      const { command, files } = startCommand();
      await msUntil(() => files().length > 0, 100_000);
      const [worker] = childrenOf(command.pid as number) as [number];
      command.kill(signal);
      const { exitCode, stderr, stdout } = await command;
      expect(exitCode).toBe(code);
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
    command.kill("SIGTERM");
    await new Promise((resolve) => setTimeout(resolve, 50));
    const startedAt = performance.now();
    command.kill("SIGINT");
    const { exitCode } = await command;
    expect(exitCode).toBe(143);
    expect(performance.now() - startedAt).toBeLessThan(500);
    await msUntil(() => !isAlive(worker), 2000);
  });
});

/** They are told to end while they wait, whose code runs in all of them: a load that does not come to its end. */
describe.runIf(process.platform !== "win32")("a command that is told to end while it loads", () => {
  let temporary: string;
  beforeAll(buildIfStale);
  beforeEach(() => {
    temporary = mkdtempSync(join(tmpdir(), "zipar-test-interrupt-"));
    mkdirSync(join(temporary, "python"));
    const python = join(temporary, "python", "python3");
    writeFileSync(python, '#!/bin/sh\necho started >"$STARTED"\nexec sleep 600\n', { mode: 0o755 });
  });
  afterEach(() => rmSync(temporary, { recursive: true }));

  test.each([
    ["generate lighthouse", "SIGTERM", 143],
    ["info", "SIGHUP", 129],
    ["demo", "SIGTERM", 143],
    ["eval", "SIGHUP", 129],
    ["profile", "SIGINT", 130],
    ["worker --connect tcp://127.0.0.1:1 --drain 0", "SIGTERM", 143],
    ["setup", "SIGTERM", 143],
  ] as const)("zipar %s, by %s, ends with %i and leaves nothing", async (line, signal, code) => {
    const started = join(temporary, "started");
    const command = execa(process.execPath, [join(PACKAGE_ROOT, "dist/cli/main.js"), ...line.split(" ")], {
      cwd: temporary,
      env: {
        TMPDIR: temporary,
        STARTED: started,
        ZIPAR_PYTHON: join(temporary, "python", "python3"),
        ZIPAR_TOKEN: "0123456789abcdef",
      },
      reject: false,
    });
    await msUntil(() => readdirSync(temporary).includes("started"), 60_000);
    const children = childrenOf(command.pid as number);
    command.kill(signal);
    const { exitCode, stderr } = await command;
    expect(exitCode, stderr).toBe(code);
    expect(stderr).not.toContain("    at ");
    await msUntil(() => children.every((child) => !isAlive(child)), 5000);
    expect(socketDirectories(temporary)).toEqual([]);
  });
});

describe("where nobody reads, or nothing can be written,", () => {
  beforeAll(buildIfStale);
  const zipar = `${JSON.stringify(process.execPath)} ${JSON.stringify(join(PACKAGE_ROOT, "dist/cli/main.js"))}`;
  const shell = (line: string) => execa("bash", ["-c", `set -o pipefail; ${line}`], { reject: false });
  const PLAN = `${zipar} plan --rows 90 --columns 90 --window 3`;

  test.runIf(process.platform !== "win32").each([
    ["a reader who never read", `${PLAN} | true`, 0],
    ["a reader who has seen enough", `${PLAN} --json | head -c 1`, 0],
    ["a reader of errors who has gone", `${zipar} generate cat --tokens 2> >(true)`, 2],
  ])("%s is no matter for stack traces", async (_, line, code) => {
    const { exitCode, stderr } = await shell(line);
    expect(exitCode).toBe(code);
    expect(stderr).toBe("");
  });

  test
    .runIf(process.platform === "linux")
    .each([[PLAN], [`${PLAN} --json`], [`${zipar} --help`], [`${zipar} doctor --json`]])(
    "a full disk is told in one line: %s",
    async (line) => {
      const { exitCode, stderr } = await shell(`${line} >/dev/full`);
      expect(exitCode).toBe(1);
      expect(stderr).toMatch(/^zipar: standard output cannot be written: ENOSPC[^\n]*$/);
    },
  );
});
