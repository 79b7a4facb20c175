import { copyFileSync, writeFileSync } from "node:fs";
import { createServer } from "node:net";
import { join } from "node:path";
import { execa } from "execa";
import { afterAll, beforeAll, describe, expect, test } from "vitest";
import * as zmq from "zeromq";
import {
  createEngine,
  type Engine,
  type EngineOptions,
  type GenerationResult,
  type RemoteWorkerOptions,
  remoteWorker,
} from "../../src/index.ts";
import { packageRoot } from "../../src/python/location.ts";
import { KEY_FILES, readPublicKey } from "../../src/worker/remote/key-files.ts";
import { buildIfStale } from "../support/build.ts";
import { closeLater } from "../support/close-later.ts";
import { ziparErrorOf } from "../support/errors.ts";
import { jsonPost } from "../support/json-post.ts";
import {
  HandMadeWorker,
  hello,
  listening,
  pack,
  portOf,
  type RemoteProcess,
  startRemoteWorker,
  type TestKeys,
  TOKEN,
  testKeys,
  tokenOf,
  unpack,
} from "../support/remote.ts";
import { readMetric, serveCommand } from "../support/serve-command.ts";
import { type TcpProxy, tcpProxy } from "../support/tcp-proxy.ts";

const REQUEST = { classLabel: 1, window: 2, seed: 5, image: false } as const;
const LISTEN = "tcp://127.0.0.1:0";
/** Longer than any worker takes to come up here. */
const PATIENCE = { waitTimeoutMs: 20_000 };

let keys: TestKeys;
beforeAll(() => {
  keys = testKeys();
});
afterAll(() => keys.remove());

function startWorker(endpoint: string, ...options: readonly string[]): RemoteProcess {
  return closeLater(startRemoteWorker(endpoint, { options }), (worker) => worker.kill());
}

/** An engine, and the worker that dials in to where it listens. */
async function startBoth(
  worker: RemoteWorkerOptions,
  ...options: readonly string[]
): Promise<{ engine: Engine; process: RemoteProcess; endpoint: string }> {
  let process: RemoteProcess | undefined;
  let endpoint = "";
  const engine = await createEngine(
    listening({ ...PATIENCE, ...worker }, (where) => {
      endpoint = where;
      process ??= startWorker(where, ...options);
    }),
  );
  closeLater(engine, () => engine.dispose());
  return { engine, process: process as RemoteProcess, endpoint };
}

async function freePort(): Promise<number> {
  const server = createServer().listen(0, "127.0.0.1");
  await new Promise((resolve) => server.once("listening", resolve));
  const { port } = server.address() as { port: number };
  await new Promise((resolve) => server.close(resolve));
  return port;
}

/** Whom an engine turned away that waited in vain, until the worker who dialled in had said something. */
async function waitInVain(
  remote: RemoteWorkerOptions,
  dialIn: (endpoint: string) => RemoteProcess,
  said: string,
): Promise<{ readonly worker: RemoteProcess; readonly warnings: readonly string[] }> {
  const abort = new AbortController();
  const warnings: string[] = [];
  let worker: RemoteProcess | undefined;
  const outcome = ziparErrorOf(async () => {
    const engine = await createEngine({
      ...listening({ ...PATIENCE, ...remote }, (endpoint) => {
        worker = dialIn(endpoint);
      }),
      logger: { debug() {}, info() {}, warn: (message) => warnings.push(message) },
      signal: abort.signal,
    });
    closeLater(engine, () => engine.dispose());
  });
  await expect.poll(() => worker?.said(), { timeout: 10_000 }).toContain(said);
  abort.abort();
  expect((await outcome).code).toBe("cancelled"); // until then it waited
  return { worker: worker as RemoteProcess, warnings };
}

describe("a remote worker with the right keys", () => {
  test("serves one engine after another, and loads the same model only once", async () => {
    const source = remoteWorker({ listen: LISTEN, keys: keys.engine, ...PATIENCE });
    let process: RemoteProcess | undefined;
    const results: unknown[] = [];
    const phases: string[][] = [];
    for (let k = 0; k < 2; k++) {
      const seen: string[] = [];
      const engine = await createEngine({
        worker: source,
        onProgress: ({ phase }) => {
          seen.push(phase);
          process ??= startWorker(phase.split(" ").at(-1) as string, "--keys", keys.worker);
        },
      });
      results.push((await engine.generate(REQUEST)).tokens);
      expect(engine.workerPid).toBeUndefined();
      await engine.dispose();
      phases.push(seen);
    }
    expect(results[0]).toEqual(results[1]);
    expect(phases[0]?.at(-1)).toBe("load");
    expect(phases[1]).toHaveLength(1); // the wait, at the port of the first time
    expect(phases[1]?.[0]).toBe(phases[0]?.[0]);
    expect(process?.said().match(/loading/g)).toHaveLength(1);
  });

  test("loads anew for an engine that asks for another model", async () => {
    const { engine, process, endpoint } = await startBoth(
      { listen: LISTEN, keys: keys.engine },
      "--keys",
      keys.worker,
    );
    await engine.dispose();
    const other = await createEngine({
      model: "another",
      worker: { listen: endpoint, keys: keys.engine, ...PATIENCE },
    });
    await other.generate(REQUEST);
    await other.dispose();
    expect(process.said()).toMatch(/loading demo[\s\S]*loading another/);
  });

  test("leaves no room for a second one, which says so and takes over when the first has gone", async () => {
    const { engine, process, endpoint } = await startBoth(
      { listen: LISTEN, keys: keys.engine },
      "--keys",
      keys.worker,
    );
    const second = startWorker(endpoint, "--keys", keys.worker);
    await expect
      .poll(() => second.said(), { timeout: 10_000 })
      .toContain("takes no worker now, as it has one");
    await engine.generate(REQUEST); // undisturbed
    await engine.dispose();
    process.kill();
    const next = await createEngine({ worker: { listen: endpoint, keys: keys.engine, ...PATIENCE } });
    await next.generate(REQUEST);
    await next.dispose();
    expect(second.said()).toContain("serving stub");
  });

  test("gets in to its own engine only, of several that wait in one program", async () => {
    const others = closeLater(testKeys(), (others) => others.remove());
    const [one, other] = await Promise.all(
      [keys, others].map(({ engine, worker }) =>
        startBoth({ listen: LISTEN, keys: engine }, "--keys", worker),
      ),
    );
    if (one === undefined || other === undefined) return expect.unreachable();
    expect((await one.engine.generate(REQUEST)).tokens).toEqual(
      (await other.engine.generate(REQUEST)).tokens,
    );
    await other.engine.dispose();
    other.process.kill();
    await other.process.ended;
    // the key that the one engine knows, and all that the other engine tells its own worker
    const intruder = closeLater(testKeys(), (intruder) => intruder.remove());
    for (const [from, file] of [
      [keys, KEY_FILES.workerPublic],
      [keys, KEY_FILES.workerSecret],
      [others, KEY_FILES.enginePublic],
      [others, KEY_FILES.token],
    ] as const)
      copyFileSync(join(from.worker, file), join(intruder.worker, file));
    const atOther = { listen: other.endpoint, keys: others.engine };
    await waitInVain(
      atOther,
      (to) => startWorker(to, "--keys", intruder.worker),
      "does not know this worker's key",
    );
    // while one engine waits, the other has its worker and takes no second one
    await waitInVain(atOther, () => startWorker(one.endpoint, "--keys", keys.worker), "takes no worker now");
    await one.engine.generate(REQUEST);
  });

  test("refuses a device that is not its own, and puts the model on its own where the engine leaves it open", async () => {
    const own = ["--keys", keys.worker, "--device", "cuda:1"];
    const error = await ziparErrorOf(async () => {
      let isStarted = false;
      await createEngine({
        ...listening({ listen: LISTEN, keys: keys.engine, ...PATIENCE }, (endpoint) => {
          if (!isStarted) startWorker(endpoint, ...own);
          isStarted = true;
        }),
        device: "cuda:0",
      });
    });
    expect(error.code).toBe("device");
    expect(error.message).toContain("--device cuda:1");
    const { engine } = await startBoth({ listen: LISTEN, keys: keys.engine }, ...own);
    expect((await engine.generate(REQUEST)).tokens).toHaveLength(4);
  });
});

test("a program whose engine is idle ends by itself, and its remote worker waits for the next one", async () => {
  const program = join(import.meta.dirname, "fixtures/remote-host.mjs");
  await buildIfStale();
  const host = execa(process.execPath, [program, keys.engine]);
  const endpoint = await new Promise<string>((resolve) => {
    host.stdout.setEncoding("utf8").once("data", (line: string) => resolve(line.trim()));
  });
  const worker = startWorker(endpoint, "--keys", keys.worker);
  expect((await host).exitCode).toBe(0);
  await expect.poll(() => worker.said(), { timeout: 5_000 }).toContain("nobody listens");
});

describe("several remote workers", () => {
  const stub = { rows: 8, columns: 8, delayMs: 10 };
  const dialIn = (endpoint: string) =>
    closeLater(startRemoteWorker(endpoint, { options: ["--keys", keys.worker], stub }), (worker) =>
      worker.kill(),
    );

  test("come and go while images are made, and cost none; the engine begins with the first", async () => {
    const workers: RemoteProcess[] = [];
    let endpoint = "";
    const options = listening({ listen: LISTEN, keys: keys.engine, min: 1, max: 2, ...PATIENCE }, (where) => {
      endpoint = where;
      if (workers.length === 0) workers.push(dialIn(where));
    });
    // With room for two guided images each, neither can take more than its half, however fast it is.
    const engine = await createEngine({ ...options, maxImages: 2 });
    closeLater(engine, () => engine.dispose());
    expect(engine.workers).toHaveLength(1);
    const requests = [1, 2, 3, 4].map((seed) => ({ ...REQUEST, seed, guidanceScale: 2 }));
    const alone = await Promise.all(requests.map((request) => engine.generate(request)));
    workers.push(dialIn(endpoint));
    await expect.poll(() => engine.workers.length, { timeout: 20_000 }).toBe(2);
    const generations = requests.map((request) => engine.generate(request));
    await expect
      .poll(() => engine.workers.map(({ images }) => images), { timeout: 10_000, interval: 1 })
      .toEqual([2, 2]);
    workers[0]?.kill();
    const together = await Promise.all(generations);
    expect(together.map(({ tokens }) => tokens)).toEqual(alone.map(({ tokens }) => tokens));
    expect(engine.workers.map(({ state }) => state)).toEqual(["lost", "ready"]);
    workers.push(dialIn(endpoint)); // takes the place of the one that left
    await expect
      .poll(() => engine.workers.map(({ state }) => state), { timeout: 20_000 })
      .toEqual(["ready", "ready"]);
    expect((await engine.generate(REQUEST)).stats.tokens).toBe(64);
  });

  test.each([
    { drain: "20", restarts: [0, 0, 0, 0], means: "finishes its images" },
    { drain: "0.1", restarts: [0, 0, 1, 1], means: "hands over what it has not finished in its time" },
  ])("one that is told to end $means, and ends with 0", async ({ drain, restarts }) => {
    const workers: RemoteProcess[] = [];
    const slow = { rows: 16, columns: 16, delayMs: 15 };
    const engine = await createEngine({
      ...listening({ listen: LISTEN, keys: keys.engine, min: 2, ...PATIENCE }, (where) => {
        while (workers.length < 2)
          workers.push(
            closeLater(
              startRemoteWorker(where, { options: ["--keys", keys.worker, "--drain", drain], stub: slow }),
              (worker) => worker.kill(),
            ),
          );
      }),
      maxImages: 2, // neither can take more than its half
      restarts: { max: 0 },
    });
    closeLater(engine, () => engine.dispose());
    const requests = [1, 2, 3, 4].map((seed) => ({ ...REQUEST, seed, guidanceScale: 2 }));
    const alone = await Promise.all(requests.map((request) => engine.generate(request)));
    const generations = requests.map((request) => engine.generate(request));
    await expect
      .poll(() => engine.workers.map(({ images }) => images), { timeout: 10_000, interval: 1 })
      .toEqual([2, 2]);
    workers[0]?.kill("SIGTERM");
    await expect
      .poll(() => engine.workers.map(({ state }) => state).sort(), { timeout: 10_000, interval: 1 })
      .toContain(drain === "20" ? "leaving" : "lost");
    const results = await Promise.all(generations);
    expect(results.map(({ tokens }) => tokens)).toEqual(alone.map(({ tokens }) => tokens));
    expect(results.map(({ stats }) => stats.restarts).sort()).toEqual(restarts);
    expect(await workers[0]?.ended).toBe(0);
    expect((await engine.generate(REQUEST)).stats.tokens).toBe(256);
  });

  test("are awaited until as many are there as the engine begins with", async () => {
    const workers: RemoteProcess[] = [];
    const engine = await createEngine(
      listening({ listen: LISTEN, keys: keys.engine, min: 2, ...PATIENCE }, (where) => {
        while (workers.length < 2) workers.push(dialIn(where));
      }),
    );
    closeLater(engine, () => engine.dispose());
    expect(engine.workers.map(({ state }) => state)).toEqual(["ready", "ready"]);
    await engine.dispose();
    expect((await ziparErrorOf(() => engine.generate(REQUEST))).code).toBe("engine-closed");
  });
});

describe("on the command line", () => {
  const demo = { rows: 4, columns: 6 };
  const dialIn = (endpoint: string) =>
    closeLater(startRemoteWorker(endpoint, { options: ["--keys", keys.worker], stub: demo }), (worker) =>
      worker.kill(),
    );

  test("zipar generate waits for as many as --workers says, and lets all of them draw", async () => {
    await buildIfStale();
    const listen = ["--listen", LISTEN, "--keys", keys.engine, "--workers", "2"];
    const command = execa(
      process.execPath,
      [join(packageRoot, "dist/cli/main.js"), "generate", "3", "--no-image", "--json", ...listen],
      { reject: false },
    );
    let said = "";
    command.stderr.setEncoding("utf8").on("data", (text: string) => {
      said += text;
    });
    const endpointOf = () => /waiting for a worker at (\S+)/.exec(said)?.[1];
    await expect.poll(endpointOf).toBeDefined();
    for (let k = 0; k < 2; k++) dialIn(endpointOf() as string);
    const { stdout, exitCode, stderr } = await command;
    expect(exitCode, stderr).toBe(0);
    expect(JSON.parse(stdout)).toMatchObject({ workers: 2, images: [{}] });
  });

  test("zipar serve --listen begins with the first worker, and later ones join it", async () => {
    await buildIfStale();
    const port = await freePort();
    const listen = ["--listen", `tcp://127.0.0.1:${port}`, "--keys", keys.engine, "--workers", "1:2"];
    const { command, address } = await serveCommand(["--model", "/models/elsewhere", ...listen]);
    closeLater(command, () => command.kill("SIGKILL"));
    const ready = async () => (await fetch(`${address}/readyz`)).status;
    const workers = () => readMetric(address, 'zipar_workers{model="elsewhere",state="ready"}');
    expect(await ready()).toBe(503);
    dialIn(`tcp://127.0.0.1:${port}`);
    await expect.poll(ready).toBe(200);
    expect(await workers()).toBe(1);
    dialIn(`tcp://127.0.0.1:${port}`);
    await expect.poll(workers).toBe(2);
    const request = jsonPost({ prompt: "3", window: 2 });
    expect((await fetch(`${address}/v1/images/generations`, request)).status).toBe(200);
  });
});

describe("a worker that may not dial in", () => {
  test("because its key is unknown is told so, and the engine names the key", async () => {
    const stranger = testKeys();
    closeLater(stranger, () => stranger.remove());
    // a worker that knows the engine's key and the token, and is not known to the engine
    for (const file of [KEY_FILES.enginePublic, KEY_FILES.token])
      copyFileSync(join(keys.worker, file), join(stranger.worker, file));
    const key = readPublicKey(join(stranger.worker, KEY_FILES.workerPublic));
    const { warnings } = await waitInVain(
      { listen: LISTEN, keys: keys.engine },
      (endpoint) => startWorker(endpoint, "--keys", stranger.worker),
      `does not know this worker's key ${key}`,
    );
    expect(warnings).toEqual([`turned away: 127.0.0.1 came with the unknown key ${key}`]);
  });

  test("because it holds another engine's key is told to look at engine.public", async () => {
    const other = closeLater(testKeys(), (other) => other.remove());
    await waitInVain(
      { listen: LISTEN, keys: keys.engine },
      (endpoint) => startWorker(endpoint, "--keys", other.worker),
      "its key is not the one in engine.public",
    );
  });

  test("because it speaks plain TCP to an engine with keys never gets a word in", async () => {
    await waitInVain(
      { listen: LISTEN, keys: keys.engine },
      (endpoint) => {
        const plain = closeLater(new HandMadeWorker(endpoint), (plain) => plain.close());
        void plain.say(hello(tokenOf(keys)));
        return startWorker(endpoint, "--token-file", join(keys.worker, KEY_FILES.token));
      },
      "it wants keys",
    );
  });

  test("because it has keys and the engine listens without says so", async () => {
    await waitInVain(
      { listen: LISTEN, token: TOKEN },
      (endpoint) => startWorker(endpoint, "--keys", keys.worker),
      "it has no keys",
    );
  });

  test("because its token is another one is turned away, says why and ends", async () => {
    const file = join(keys.folder, "wrong-token");
    writeFileSync(file, "another token of good length\n", { mode: 0o600 });
    const { worker, warnings } = await waitInVain(
      { listen: LISTEN, keys: keys.engine },
      (endpoint) => startWorker(endpoint, "--keys", keys.worker, "--token-file", file),
      "turned away",
    );
    expect(warnings.join()).toContain("token is not the one that the engine expects");
    expect(await worker.ended).toBe(77);
  });

  test("because it says nonsense does not disturb the wait for the real one", async () => {
    const source = { listen: LISTEN, token: TOKEN, ...PATIENCE };
    let isFirst = true;
    const engine = await createEngine(
      listening(source, (endpoint) => {
        if (!isFirst) return;
        isFirst = false;
        const stranger = closeLater(new HandMadeWorker(endpoint), (stranger) => stranger.close());
        void stranger.say(Buffer.from([0xc1, 0xc1])).then(() => stranger.say({ type: "ready" }));
        closeLater(startRemoteWorker(endpoint, { token: TOKEN }), (worker) => worker.kill());
      }),
    );
    closeLater(engine, () => engine.dispose());
    expect((await engine.generate(REQUEST)).tokens).toHaveLength(4);
  });
});

describe("a hello", () => {
  test("that was accepted before is refused", async () => {
    const source = remoteWorker({ listen: LISTEN, keys: keys.engine, waitTimeoutMs: 3_000 });
    const heard: unknown[] = [];
    const dialIn = async (endpoint: string) => {
      const worker = closeLater(HandMadeWorker.withKeys(endpoint, keys), (worker) => worker.close());
      await worker.say(hello(tokenOf(keys), { epoch: 77 }));
      const request = await worker.hear();
      heard.push(request);
      if (request.type !== "init") return;
      const error = { code: "checkpoint", message: "no such model here" };
      await worker.say({ type: "error", epoch: 77, request: request.request, frames: [], error });
    };
    const start = () =>
      createEngine({
        worker: source,
        onProgress: ({ phase }) => void dialIn(phase.split(" ").at(-1) as string),
      });
    expect((await ziparErrorOf(start)).message).toContain("no such model here");
    const again = await ziparErrorOf(start);
    expect(again.code).toBe("worker-timeout");
    expect(again.message).toContain("epoch 77 was accepted before");
    expect(heard).toMatchObject([{ type: "init" }, { type: "refuse", epoch: 77, reason: "replayed" }]);
  });

  test("of another version of the protocol is a typed error, and the worker is told both versions", async () => {
    let heard: Promise<Record<string, unknown>> | undefined;
    const options = listening({ listen: LISTEN, keys: keys.engine, ...PATIENCE }, (endpoint) => {
      const worker = closeLater(HandMadeWorker.withKeys(endpoint, keys), (worker) => worker.close());
      heard = worker.say(hello(tokenOf(keys), { protocolVersion: 0 })).then(() => worker.hear());
    });
    const error = await ziparErrorOf(() => createEngine(options));
    expect(error.code).toBe("protocol-version");
    expect(error.message).toContain("version 0");
    expect(await heard).toMatchObject({ type: "refuse", reason: "protocol-version", message: error.message });
  });

  test("that an engine of another version refuses ends the worker with the engine's words", async () => {
    const engine = closeLater(new zmq.Router({ linger: 500 }), (engine) => engine.close());
    await engine.bind("tcp://127.0.0.1:*");
    const worker = startRemoteWorker(engine.lastEndpoint as string, { token: TOKEN });
    closeLater(worker, () => worker.kill());
    const [identity, header] = (await engine.receive()) as [Buffer, Buffer];
    const { epoch } = unpack(header);
    const message = "the worker speaks protocol version 2, this SDK speaks 7; install matching versions";
    await engine.send([
      identity,
      pack({ type: "refuse", epoch, request: 0, frames: [], reason: "protocol-version", message }),
    ]);
    expect(await worker.ended).toBe(77);
    expect(worker.said()).toContain(message);
  });
});

describe("a link that breaks", () => {
  const GRID = { rows: 24, columns: 24, delayMs: 10 };
  let proxy: TcpProxy;
  let worker: RemoteProcess;

  /** An engine whose worker dials in through a network that can be broken. */
  async function startThroughProxy(options: EngineOptions = {}): Promise<Engine> {
    let port = 0;
    proxy = closeLater(await tcpProxy(() => port), (proxy) => proxy.close());
    worker = closeLater(
      startRemoteWorker(`tcp://127.0.0.1:${proxy.port}`, {
        options: ["--keys", keys.worker, "--heartbeat-timeout", "600"],
        stub: GRID,
      }),
      (worker) => worker.kill("SIGKILL"),
    );
    const remote = { listen: LISTEN, keys: keys.engine, ...PATIENCE };
    const engine = await createEngine({
      ...listening(remote, (endpoint) => {
        port = portOf(endpoint);
      }),
      ...options,
    });
    return closeLater(engine, () => engine.dispose());
  }

  /** Generates, and breaks something after the fifth forward. */
  async function generateAnd(engine: Engine, breakLink: () => void): Promise<GenerationResult> {
    const generation = engine.generate(REQUEST);
    for await (const event of generation) if (event.type === "step" && event.forward === 5) breakLink();
    return generation;
  }

  /** How long the engine takes to notice what breaks the link. */
  async function msUntilNoticed(engine: Engine, breakLink: () => void): Promise<number> {
    let brokenAt = 0;
    const error = await ziparErrorOf(() =>
      generateAnd(engine, () => {
        brokenAt = performance.now();
        breakLink();
      }),
    );
    expect(error.code).toBe("worker-died");
    return performance.now() - brokenAt;
  }

  test.each([
    ["carries nothing any more", () => proxy.freeze()],
    ["ends", () => proxy.cut()],
  ])("because the connection %s is noticed within a second, on both sides", async (_, breakLink) => {
    const engine = await startThroughProxy({ restarts: { max: 0 } });
    expect(await msUntilNoticed(engine, breakLink)).toBeLessThan(1_000);
    await expect.poll(() => worker.said(), { timeout: 2_000 }).toContain("was lost");
  });

  test("because the worker was stopped is noticed within a second, and by the worker once it goes on", async () => {
    const engine = await startThroughProxy({ restarts: { max: 0 } });
    expect(await msUntilNoticed(engine, () => worker.kill("SIGSTOP"))).toBeLessThan(1_000);
    await engine.dispose();
    worker.kill("SIGCONT");
    await expect.poll(() => worker.said(), { timeout: 5_000 }).toContain("was lost");
  });

  test.each([
    ["is cut", () => proxy.cut()],
    ["carries nothing any more", () => proxy.freeze()],
  ])(
    "because the connection %s for a while costs a replay and no image, and the model is not loaded again",
    async (_, breakLink) => {
      const engine = await startThroughProxy();
      const undisturbed = await engine.generate(REQUEST);
      const result = await generateAnd(engine, () => {
        breakLink();
        setTimeout(() => proxy.restore(), 1_500);
      });
      expect(result.tokens).toEqual(undisturbed.tokens);
      expect(result.stats.restarts).toBe(1);
      expect(worker.said().match(/loading/g)).toHaveLength(1);
      expect(worker.said().match(/serving/g)).toHaveLength(2);
    },
  );

  test("while the engine is idle is mended before its next image", async () => {
    const engine = await startThroughProxy();
    const undisturbed = await engine.generate(REQUEST);
    proxy.cut();
    await expect.poll(() => worker.said(), { timeout: 5_000 }).toContain("takes no worker now");
    proxy.restore();
    expect((await engine.generate(REQUEST)).tokens).toEqual(undisturbed.tokens);
  });
});
