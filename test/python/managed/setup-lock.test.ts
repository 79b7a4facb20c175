import { spawnSync } from "node:child_process";
import { existsSync, mkdirSync, mkdtempSync, readdirSync, rmSync, writeFileSync } from "node:fs";
import { hostname, tmpdir } from "node:os";
import { join } from "node:path";
import { setTimeout as sleep } from "node:timers/promises";
import { afterEach, beforeEach, expect, test } from "vitest";
import { isAbandoned, withSetupLock } from "../../../src/python/managed/setup-lock.ts";

let folder: string;
beforeEach(() => {
  folder = mkdtempSync(join(tmpdir(), "zipar-lock-"));
});
afterEach(() => rmSync(folder, { recursive: true, force: true }));

test("two set-ups of one environment run one after the other", async () => {
  const events: string[] = [];
  const waits: string[] = [];
  const setUp = (name: string) =>
    withSetupLock(
      join(folder, "environment"),
      (owner) => waits.push(owner),
      async () => {
        events.push(`${name} starts`);
        while (waits.length === 0) await sleep(10);
        events.push(`${name} ends`);
      },
    );
  await Promise.all([setUp("a"), setUp("b")]);
  const [first, second] = events[0] === "a starts" ? ["a", "b"] : ["b", "a"];
  expect(events).toEqual([`${first} starts`, `${first} ends`, `${second} starts`, `${second} ends`]);
  expect(waits).toEqual([`process ${process.pid} on ${hostname()}`]);
  expect(readdirSync(folder)).toEqual([]);
});

test("the lock is given back when the work fails", async () => {
  const failing = withSetupLock(
    join(folder, "environment"),
    () => undefined,
    () => Promise.reject(new Error("no")),
  );
  await expect(failing).rejects.toThrow("no");
  expect(existsSync(join(folder, "environment.lock"))).toBe(false);
});

test("the lock of a process that died is taken over at once", async () => {
  const dead = spawnSync(process.execPath, ["--eval", ""]).pid;
  mkdirSync(join(folder, "environment.lock"));
  writeFileSync(
    join(folder, "environment.lock", "owner.json"),
    JSON.stringify({ host: hostname(), pid: dead, id: "1" }),
  );
  const startMs = performance.now();
  expect(
    await withSetupLock(
      join(folder, "environment"),
      () => undefined,
      async () => "done",
    ),
  ).toBe("done");
  expect(performance.now() - startMs).toBeLessThan(1_000);
  expect(readdirSync(folder)).toEqual([]);
});

test("an owner elsewhere is abandoned only after a long silence", () => {
  const elsewhere = { owner: { host: "another-machine", pid: 1 }, lastSeenMs: 0 };
  expect(isAbandoned(elsewhere, 5_000, () => false)).toBe(false);
  expect(isAbandoned(elsewhere, 120_000, () => false)).toBe(true);
  const here = { owner: { host: hostname(), pid: 1 }, lastSeenMs: 0 };
  expect(isAbandoned(here, 5_000, () => false)).toBe(true);
  expect(isAbandoned(here, 5_000, () => true)).toBe(false);
});
