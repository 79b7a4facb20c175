import { mkdirSync, mkdtempSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { afterAll, describe, expect, test } from "vitest";
import { curveKeyPair } from "zeromq";
import { createEngine } from "../../../src/index.ts";
import { parseListenAddress } from "../../../src/worker/remote/listen-address.ts";
import { makeKeys } from "../../../src/worker/remote/make-keys.ts";
import { readCredentials, resolveRemote } from "../../../src/worker/remote/options.ts";
import { ziparErrorOf } from "../../support/errors.ts";

const folder = mkdtempSync(join(tmpdir(), "zipar-test-remote-"));
afterAll(() => rmSync(folder, { recursive: true }));

const TOKEN = "a token that nobody guesses";
const { engine } = makeKeys(join(folder, "keys"));

describe("where to listen", () => {
  test.each([
    ["tcp://127.0.0.1:5555", "tcp://127.0.0.1:5555", true],
    ["tcp://localhost:0", "tcp://127.0.0.1:0", true],
    ["tcp://[::1]:5555", "tcp://[::1]:5555", true],
    ["tcp://0.0.0.0:5555", "tcp://0.0.0.0:5555", false],
    ["tcp://10.0.0.5:5555", "tcp://10.0.0.5:5555", false],
    ["tcp://127.example.org:5555", "tcp://127.example.org:5555", false],
    ["tcp://eth0:5555", "tcp://eth0:5555", false],
    ["tcp://[::]:5555", "tcp://[::]:5555", false],
  ])("%s is understood", (text, endpoint, isLoopback) => {
    expect(parseListenAddress(text)).toMatchObject({ endpoint, isLoopback });
  });

  test.each([
    "tcp://*:5555",
    "tcp://127.0.0.1:*",
    "tcp://127.0.0.1",
    "ipc:///tmp/x",
    "127.0.0.1:5555",
    "tcp://1.2.3.4:70000",
    "tcp://[::g]:1",
  ])("%s is refused", async (text) => {
    const error = await ziparErrorOf(() => parseListenAddress(text));
    expect(error.code).toBe("invalid-options");
    expect(error.message).toContain(text);
  });
});

describe("plain TCP", () => {
  test.each(["tcp://0.0.0.0:5555", "tcp://10.0.0.5:5555", "tcp://lo:5555"])(
    "on %s is refused unless a name says what it is",
    async (listen) => {
      const error = await ziparErrorOf(() => createEngine({ worker: { listen, token: TOKEN } }));
      expect(error.code).toBe("invalid-options");
      expect(error.message).toContain("insecurePlaintext: true");
      expect(resolveRemote({ listen, token: TOKEN, insecurePlaintext: true }).keys).toBeUndefined();
      expect(resolveRemote({ listen, keys: engine }).keys).toBe(engine);
    },
  );

  test("on a loopback address needs a token all the same", async () => {
    const settings = resolveRemote({ listen: "tcp://127.0.0.1:5555" });
    expect((await ziparErrorOf(() => readCredentials(settings, {}))).message).toContain("ZIPAR_TOKEN");
    expect(readCredentials(settings, { ZIPAR_TOKEN: TOKEN })).toEqual({ token: TOKEN, curve: undefined });
  });
});

describe("who may dial in", () => {
  test("is read from the engine's folder", () => {
    const { token, curve } = readCredentials(
      resolveRemote({ listen: "tcp://10.0.0.5:5555", keys: engine }),
      {},
    );
    expect(token).toMatch(/^[0-9a-f]{64}$/);
    expect(curve?.workers.size).toBe(1);
  });

  test("is read again for each wait, so that a worker can be added", () => {
    const settings = resolveRemote({ listen: "tcp://10.0.0.5:5555", keys: engine });
    const before = readCredentials(settings, {}).curve?.workers.size as number;
    makeKeys(join(folder, "keys"), "another");
    expect(readCredentials(settings, {}).curve?.workers.size).toBe(before + 1);
  });

  test("can be given as keys, which then replace those of the folder", () => {
    const pair = curveKeyPair();
    const { publicKey } = curveKeyPair();
    const settings = resolveRemote({
      listen: "tcp://10.0.0.5:5555",
      keys: pair,
      clients: [publicKey],
      token: TOKEN,
    });
    expect(readCredentials(settings, {}).curve).toEqual({
      secretKey: pair.secretKey,
      workers: new Set([publicKey]),
    });
  });

  test("is somebody: a pair without clients, and an empty folder, are refused", async () => {
    const listen = "tcp://10.0.0.5:5555";
    expect((await ziparErrorOf(() => resolveRemote({ listen, keys: curveKeyPair() }))).message).toContain(
      "clients",
    );
    const empty = join(folder, "empty");
    mkdirSync(empty);
    const settings = resolveRemote({ listen, keys: engine, clients: empty });
    expect((await ziparErrorOf(() => readCredentials(settings, {}))).message).toContain("no *.public file");
    expect(
      (await ziparErrorOf(() => resolveRemote({ listen: "tcp://127.0.0.1:1", clients: empty }))).code,
    ).toBe("invalid-options");
  });

  test("has a token that is too much to guess", async () => {
    for (const token of ["short", "x".repeat(129)]) {
      const settings = resolveRemote({ listen: "tcp://127.0.0.1:1", token });
      expect((await ziparErrorOf(() => readCredentials(settings, {}))).message).toContain(
        `received ${token.length}`,
      );
    }
  });

  test("knows the token of the file before that of the environment, and that before the folder's", () => {
    const file = join(folder, "token");
    writeFileSync(file, `${TOKEN}\n`, { mode: 0o600 });
    const base = { listen: "tcp://127.0.0.1:1", keys: engine };
    const variables = { ZIPAR_TOKEN: "the environment's token" };
    const tokenOf = (more: object) => readCredentials(resolveRemote({ ...base, ...more }), variables).token;
    expect(tokenOf({ token: "the option's own token", tokenFile: file })).toBe("the option's own token");
    expect(tokenOf({ tokenFile: file })).toBe(TOKEN);
    expect(tokenOf({})).toBe("the environment's token");
  });
});

test("a number of threads is refused for a worker on another machine, before anybody waits for it", async () => {
  const worker = { listen: "tcp://127.0.0.1:0", token: TOKEN };
  const error = await ziparErrorOf(() => createEngine({ worker, threads: 4 }));
  expect(error).toMatchObject({ code: "invalid-options" });
  expect(error.message).toContain("zipar worker --threads");
});
