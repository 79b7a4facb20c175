import { existsSync, mkdirSync, mkdtempSync, rmSync, symlinkSync, utimesSync, writeFileSync } from "node:fs";
import { createServer } from "node:net";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { execa } from "execa";
import { afterEach, beforeEach, describe, expect, test } from "vitest";
import { sweepTemporaryDirectories } from "../../src/system/temporary-directory.ts";

describe.runIf(process.platform !== "win32")("sweeping up after processes that were killed", () => {
  let directory: string;
  let dead: number;

  beforeEach(async () => {
    directory = mkdtempSync(join(tmpdir(), "zipar-test-sweep-"));
    const child = execa(process.execPath, ["-e", ""]);
    dead = child.pid as number;
    await child;
  });
  afterEach(() => rmSync(directory, { recursive: true, force: true }));

  const name = (pid: number, id = "0123456789ab") => join(directory, `zipar-worker-${pid}-${id}`);

  function make(path: string, file?: string, isOld = true): string {
    mkdirSync(path);
    if (file !== undefined) writeFileSync(join(path, file), "");
    const then = Date.now() / 1000 - 3600;
    if (isOld) utimesSync(path, then, then);
    return path;
  }

  test("removes the socket of a process that has ended, and the directory around it", async () => {
    const path = name(dead);
    const code = `require("node:fs").mkdirSync(process.argv[1]); require("node:net").createServer().listen(process.argv[1] + "/w.sock", () => process.kill(process.pid, "SIGKILL"))`;
    await execa(process.execPath, ["-e", code, path], { reject: false });
    expect(existsSync(join(path, "w.sock"))).toBe(true);
    await sweepTemporaryDirectories(directory);
    expect(existsSync(path)).toBe(false);
  });

  test("removes empty directories once they are old", async () => {
    const old = make(name(dead));
    await sweepTemporaryDirectories(directory);
    expect(existsSync(old)).toBe(false);
    const young = make(name(dead), undefined, false);
    await sweepTemporaryDirectories(directory);
    expect(existsSync(young)).toBe(true);
  });

  test("leaves alone what belongs to a process that runs, where somebody listens, and what is not ours", async () => {
    const running = make(name(process.pid));
    const listening = make(name(dead));
    const server = createServer().listen(join(listening, "w.sock"));
    await new Promise((resolve) => server.once("listening", resolve));
    const kept = [
      running,
      listening,
      make(name(dead, "bbbbbbbbbbbb"), "somebody-elses.txt"),
      make(join(directory, "zipar-notes")),
      make(join(directory, `zipar-worker-${dead}-short`)),
    ];
    const target = make(join(directory, "precious"), "w.sock");
    symlinkSync(target, name(dead, "aaaaaaaaaaaa"));
    await sweepTemporaryDirectories(directory);
    expect(kept.map(existsSync)).toEqual(kept.map(() => true));
    expect(existsSync(join(target, "w.sock"))).toBe(true);
    server.close();
  });
});
