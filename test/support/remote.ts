import { mkdtempSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { execa } from "execa";
import { Packr } from "msgpackr";
import * as zmq from "zeromq";
import type { EngineOptions, RemoteWorkerOptions } from "../../src/index.ts";
import { PROTOCOL_VERSION } from "../../src/protocol/messages.ts";
import { resolvePythonEnvironment } from "../../src/python/environment.ts";
import { isolatedVariables, runsModule } from "../../src/python/isolation.ts";
import { KEY_FILES, readPublicKey, readSecretKey, readToken } from "../../src/worker/remote/key-files.ts";
import { type MadeKeys, makeKeys } from "../../src/worker/remote/make-keys.ts";

export const TOKEN = "a token that nobody guesses";

/** Keys in a folder of their own. */
export interface TestKeys extends MadeKeys {
  readonly folder: string;
  remove(): void;
}

export function testKeys(): TestKeys {
  const folder = mkdtempSync(join(tmpdir(), "zipar-test-keys-"));
  return { folder, ...makeKeys(folder), remove: () => rmSync(folder, { recursive: true }) };
}

/** Engine options that tell where the engine waits, each time that it does. */
export function listening(worker: RemoteWorkerOptions, onWait: (endpoint: string) => void): EngineOptions {
  return {
    worker,
    onProgress: ({ phase }) => {
      const [, endpoint] = /\bwaiting for a worker at (\S+)$/.exec(phase) ?? [];
      if (endpoint !== undefined) onWait(endpoint);
    },
  };
}

export function portOf(endpoint: string): number {
  return Number(endpoint.split(":").at(-1));
}

/** The stub model in a worker that dials in, as it runs on another machine. */
export interface RemoteProcess {
  readonly pid: number;
  /** What it has told whoever runs it. */
  said(): string;
  readonly ended: Promise<number | undefined>;
  kill(signal?: NodeJS.Signals): void;
}

export interface RemoteProcessOptions {
  readonly options?: readonly string[];
  /** Given in the environment. */
  readonly token?: string;
  readonly stub?: { rows: number; columns: number; delayMs?: number };
}

export function startRemoteWorker(
  endpoint: string,
  { options = [], token, stub = { rows: 4, columns: 6 } }: RemoteProcessOptions,
): RemoteProcess {
  const environment = resolvePythonEnvironment();
  if (!environment.installed) throw new Error(environment.reason);
  const child = execa(
    environment.python,
    [
      ...runsModule("zipar_worker"),
      "--dial",
      endpoint,
      "--stub",
      JSON.stringify(stub),
      "--with-parent",
      ...options,
    ],
    {
      env: { ...isolatedVariables(environment.source), ZIPAR_TOKEN: token },
      extendEnv: false,
      stdin: "pipe",
      reject: false,
      buffer: false,
    },
  );
  let said = "";
  child.stderr.setEncoding("utf8").on("data", (chunk: string) => {
    said += chunk;
  });
  return {
    pid: child.pid as number,
    said: () => said,
    ended: child.then(({ exitCode }) => exitCode),
    kill: (signal = "SIGKILL") => void child.kill(signal),
  };
}

const packr = new Packr({ useRecords: false });

export function pack(header: object): Buffer {
  return packr.pack(header);
}

export function unpack(header: Uint8Array): Record<string, unknown> {
  return packr.unpack(header) as Record<string, unknown>;
}

/** A hand-made worker: says what a test makes it say. */
export class HandMadeWorker {
  readonly #socket: zmq.Dealer;
  constructor(endpoint: string, security: Partial<zmq.SocketOptions<zmq.Dealer>> = {}) {
    this.#socket = new zmq.Dealer({ linger: 0, receiveTimeout: 5000, ...security });
    this.#socket.connect(endpoint);
  }

  /** With the keys of a worker's folder. */
  static withKeys(endpoint: string, { worker }: MadeKeys): HandMadeWorker {
    return new HandMadeWorker(endpoint, {
      curvePublicKey: readPublicKey(join(worker, KEY_FILES.workerPublic)),
      curveSecretKey: readSecretKey(join(worker, KEY_FILES.workerSecret)),
      curveServerKey: readPublicKey(join(worker, KEY_FILES.enginePublic)),
    });
  }

  async say(message: object | Buffer): Promise<void> {
    await this.#socket.send(Buffer.isBuffer(message) ? message : pack(message));
  }

  /** @throws after 5 s of silence */
  async hear(): Promise<Record<string, unknown>> {
    const [header] = await this.#socket.receive();
    return unpack(header as Buffer);
  }

  close(): void {
    this.#socket.close();
  }
}

export function hello(token: string, changes: Record<string, unknown> = {}): Record<string, unknown> {
  return {
    type: "hello",
    epoch: 12345,
    frames: [],
    protocolVersion: PROTOCOL_VERSION,
    workerVersion: "hand-made",
    pid: 1,
    token,
    ...changes,
  };
}

export function tokenOf({ engine }: MadeKeys): string {
  return readToken(join(engine, KEY_FILES.token));
}
