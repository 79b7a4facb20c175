import {
  chmodSync,
  existsSync,
  mkdirSync,
  mkdtempSync,
  readFileSync,
  rmSync,
  statSync,
  writeFileSync,
} from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { afterEach, beforeEach, describe, expect, test } from "vitest";
import { curveKeyPair } from "zeromq";
import {
  readPublicKey,
  readPublicKeys,
  readSecretKey,
  readToken,
} from "../../../src/worker/remote/key-files.ts";
import { makeKeys } from "../../../src/worker/remote/make-keys.ts";
import { encodeZ85, isCurveKey } from "../../../src/worker/remote/z85.ts";
import { ziparErrorOf } from "../../support/errors.ts";

let folder: string;
beforeEach(() => {
  folder = join(mkdtempSync(join(tmpdir(), "zipar-test-keys-")), "keys");
});
afterEach(() => rmSync(join(folder, ".."), { recursive: true }));

const modeOf = (path: string) => (statSync(path).mode & 0o777).toString(8);
const read = (...path: readonly string[]) => readFileSync(join(folder, ...path), "utf8");

describe("making keys", () => {
  test("gives each side what it needs and nothing of the other's secrets", () => {
    const { engine, worker, isAddition } = makeKeys(folder);
    expect([engine, worker, isAddition]).toEqual([join(folder, "engine"), join(folder, "worker"), false]);
    expect(read("worker", "engine.public")).toBe(read("engine", "engine.public"));
    expect(read("engine", "workers", "worker.public")).toBe(read("worker", "worker.public"));
    expect(read("worker", "token")).toBe(read("engine", "token"));
    expect(existsSync(join(worker, "engine.secret"))).toBe(false);
    expect(existsSync(join(engine, "worker.secret"))).toBe(false);
    const keys = [
      readSecretKey(join(engine, "engine.secret")),
      readSecretKey(join(worker, "worker.secret")),
      readPublicKey(join(engine, "engine.public")),
      readPublicKey(join(worker, "worker.public")),
    ];
    expect(new Set(keys).size).toBe(4);
    expect(readToken(join(engine, "token"))).toMatch(/^[0-9a-f]{64}$/);
  });

  test.runIf(process.platform !== "win32")("lets nobody else at them, whatever the umask", () => {
    const umask = process.umask(0);
    try {
      makeKeys(folder);
    } finally {
      process.umask(umask);
    }
    for (const path of ["", "engine", "engine/workers", "worker"])
      expect(modeOf(join(folder, path))).toBe("700");
    for (const path of ["engine/engine.secret", "engine/token", "worker/worker.secret", "worker/token"])
      expect(modeOf(join(folder, path))).toBe("600");
  });

  test("adds a worker to an engine, and leaves what is there as it is", () => {
    makeKeys(folder);
    const before = [
      read("engine", "engine.secret"),
      read("engine", "token"),
      read("worker", "worker.secret"),
    ];
    const { worker, isAddition } = makeKeys(folder, "gpu-2");
    expect([worker, isAddition]).toEqual([join(folder, "gpu-2"), true]);
    expect([
      read("engine", "engine.secret"),
      read("engine", "token"),
      read("worker", "worker.secret"),
    ]).toEqual(before);
    expect(readPublicKeys(join(folder, "engine", "workers"))).toHaveLength(2);
  });

  test("overwrites nothing", async () => {
    makeKeys(folder);
    const before = read("worker", "worker.secret");
    const error = await ziparErrorOf(() => makeKeys(folder));
    expect(error.code).toBe("invalid-options");
    expect(error.message).toContain("never overwritten");
    expect(read("worker", "worker.secret")).toBe(before);
    rmSync(join(folder, "worker"), { recursive: true }); // taken to the worker's machine; the engine still knows it
    expect((await ziparErrorOf(() => makeKeys(folder))).message).toContain("worker.public");
  });

  test("leaves no half of a worker's keys where the other half cannot be written", async () => {
    makeKeys(folder);
    rmSync(join(folder, "engine", "workers"), { recursive: true });
    writeFileSync(join(folder, "engine", "workers"), "");
    const error = await ziparErrorOf(() => makeKeys(folder, "gpu-2"));
    expect(error.message).toContain(`cannot make keys in ${folder}: `);
    expect([existsSync(join(folder, "gpu-2")), existsSync(join(folder, "worker"))]).toEqual([false, true]);
  });

  test.each(["engine", "../out", "", "a/b", ".hidden"])("takes no worker named %j", async (name) => {
    expect((await ziparErrorOf(() => makeKeys(folder, name))).code).toBe("invalid-options");
    expect(existsSync(folder)).toBe(false);
  });
});

describe("reading keys", () => {
  test.runIf(process.platform !== "win32")("refuses a secret that others could have read", async () => {
    const { engine } = makeKeys(folder);
    for (const [name, reading] of [
      ["engine.secret", readSecretKey],
      ["token", readToken],
    ] as const) {
      const path = join(engine, name);
      for (const mode of [0o640, 0o604, 0o620]) {
        chmodSync(path, mode);
        const error = await ziparErrorOf(() => reading(path));
        expect(error.code).toBe("invalid-options");
        expect(error.message).toContain(`mode ${mode.toString(8)}`);
        expect(error.message).toContain(`chmod 600 ${path}`);
      }
    }
  });

  test("says which file is missing or holds no key", async () => {
    mkdirSync(folder);
    const path = join(folder, "engine.public");
    expect((await ziparErrorOf(() => readPublicKey(path))).message).toContain(path);
    for (const text of ["", "short", "x".repeat(41), `${"x".repeat(39)}~`]) {
      writeFileSync(path, text);
      expect((await ziparErrorOf(() => readPublicKey(path))).message).toContain("40 Z85 characters");
    }
  });
});

test("Z85 is that of ZeroMQ RFC 32", () => {
  expect(encodeZ85(Uint8Array.of(0x86, 0x4f, 0xd2, 0x6f, 0xb5, 0x59, 0xf7, 0x5b))).toBe("HelloWorld");
  expect(encodeZ85(new Uint8Array(4).fill(255))).toBe("%nSc0");
  for (const key of Object.values(curveKeyPair())) expect(isCurveKey(key)).toBe(true);
});
