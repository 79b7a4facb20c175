import { readdirSync, readFileSync } from "node:fs";
import type { Server } from "node:http";
import { join } from "node:path";
import { serve } from "@hono/node-server";
import { afterAll, beforeAll, describe, expect, test } from "vitest";
import { createEngine, type Engine } from "../../src/index.ts";
import { createServer } from "../../src/server/index.ts";
import { KEY_FILES } from "../../src/worker/remote/key-files.ts";
import { closeLater } from "../support/close-later.ts";
import { isAlive } from "../support/processes.ts";
import { listening, type TestKeys, testKeys, tokenOf } from "../support/remote.ts";
import { type Cluster, processIds, readProc, startCluster, startDriver, workersByNode } from "./cluster.ts";

const PATIENCE = { waitTimeoutMs: 120_000 };
/** Of links: a machine that starts a cluster is busy. */
const SILENCE_MS = 10_000;
const POLL = { timeout: 120_000, interval: 20 };
/** Slow enough that something can be killed while an image is made. */
const STUB = JSON.stringify({ rows: 12, columns: 12, delayMs: 20 });
/** Of 8 images with guidance, none of three workers takes more than its share. */
const IMAGES_EACH = 2;
const REQUESTS = [1, 2, 3, 4, 5, 6, 7, 8].map((seed) => ({
  classLabel: seed,
  window: 2,
  seed,
  guidanceScale: 2,
  image: false,
}));

let cluster: Cluster;
let keys: TestKeys;
beforeAll(async () => {
  keys = testKeys();
  cluster = await startCluster();
});
afterAll(async () => {
  await cluster?.end();
  keys.remove();
});

/** An engine that listens, and the driver that keeps workers for it. */
async function startBoth(counts: { min: number; max: number }, options: readonly string[]) {
  let driver: ReturnType<typeof startDriver> | undefined;
  let endpoint = "";
  const worker = { listen: "tcp://127.0.0.1:0", keys: keys.engine, ...counts, ...PATIENCE };
  const engine = await createEngine({
    ...listening(worker, (where) => {
      endpoint = where;
      driver ??= closeLater(
        startDriver(cluster, [
          "--connect",
          where,
          "--keys",
          keys.worker,
          "--stub",
          STUB,
          "--heartbeat-timeout",
          String(SILENCE_MS),
          ...options,
        ]),
        (driver) => driver.kill(),
      );
    }),
    heartbeatTimeoutMs: SILENCE_MS,
    maxImages: IMAGES_EACH,
  });
  closeLater(engine, () => engine.dispose());
  return { engine, driver: driver as NonNullable<typeof driver>, endpoint };
}

const stateOf = (engine: Engine) => engine.workers.map(({ state }) => state);
const tokensOf = async (engine: Engine, requests = REQUESTS) =>
  (await Promise.all(requests.map((request) => engine.generate(request)))).map(({ tokens }) => tokens);

const workersOf = (endpoint: string) => [...workersByNode(endpoint).values()].flat();

/** Images while something is killed, once the workers have begun as many as they can. */
async function tokensWhile(
  engine: Engine,
  strike: () => unknown,
  requests = REQUESTS,
): Promise<readonly unknown[]> {
  const images = tokensOf(engine, requests);
  const begun = () => engine.workers.reduce((sum, { images }) => sum + images, 0);
  await expect.poll(begun, POLL).toBe(Math.min(requests.length, engine.workers.length * IMAGES_EACH));
  await strike();
  return images;
}

describe("three workers on two nodes of a Ray cluster", () => {
  test("make every image as they would have, whether a worker or a node is killed, and Ray starts others", async () => {
    const { engine, driver, endpoint } = await startBoth({ min: 3, max: 3 }, ["--workers", "3"]);
    const alone = await tokensOf(engine);
    const counts = [...workersByNode(endpoint).values()].map(({ length }) => length);
    expect(counts.sort()).toEqual([1, 2]);

    const [victim] = workersOf(endpoint) as [number];
    expect(await tokensWhile(engine, () => process.kill(victim, "SIGKILL"))).toEqual(alone);
    expect(isAlive(victim)).toBe(false);
    await expect.poll(() => workersOf(endpoint).length, POLL).toBe(3);
    expect(await tokensOf(engine)).toEqual(alone);
    await expect.poll(() => stateOf(engine), POLL).toEqual(["ready", "ready", "ready"]);

    const [raylet, lost] = [...workersByNode(endpoint)].find(([, { length }]) => length === 2) as [
      number,
      readonly number[],
    ];
    expect(await tokensWhile(engine, () => cluster.ask({ kill: raylet }))).toEqual(alone);
    expect(lost.map(isAlive)).toEqual([false, false]);
    await cluster.ask({ add: true });
    await expect.poll(() => workersOf(endpoint).length, POLL).toBe(3);
    expect(await tokensOf(engine)).toEqual(alone);
    await expect.poll(() => stateOf(engine), POLL).toEqual(["ready", "ready", "ready"]);

    const last = workersOf(endpoint);
    const begun = REQUESTS.slice(0, 6); // all of them: what waits would wait in vain
    expect(await tokensWhile(engine, () => driver.kill("SIGTERM"), begun)).toEqual(alone.slice(0, 6));
    expect(await driver.ended).toBe(0);
    expect(last.map(isAlive)).toEqual([false, false, false]);
  });

  test("leave no secret in what Ray writes down or shows of its processes", () => {
    const secrets = [tokenOf(keys), readFileSync(join(keys.worker, KEY_FILES.workerSecret), "utf8").trim()];
    const logs = readdirSync(cluster.nodes.session, { recursive: true, withFileTypes: true })
      .filter((entry) => entry.isFile())
      .map((entry) => readFileSync(join(entry.parentPath, entry.name)));
    expect(logs.some((log) => log.includes("zipar worker: serving"))).toBe(true);
    const processes = processIds().flatMap((pid) => [readProc(pid, "cmdline"), readProc(pid, "environ")]);
    for (const secret of secrets) {
      expect(logs.filter((log) => log.includes(secret))).toEqual([]);
      expect(processes.filter((text) => text.includes(secret))).toEqual([]);
    }
  });
});

test("workers come as images wait and leave as they are done, and cost none", async () => {
  let server: ReturnType<typeof createServer> | undefined;
  // The driver begins before the engine does, and with it the server: until then the page is silent.
  const http = serve({
    fetch: (request) => server?.fetch(request) ?? new Response("no engine yet", { status: 503 }),
    hostname: "127.0.0.1",
    port: 0,
  }) as Server;
  closeLater(http, () => http.close());
  await expect.poll(() => http.address(), POLL).not.toBeNull();
  const { port } = http.address() as { port: number };
  const scale = ["--workers", "1:3", "--follow", `http://127.0.0.1:${port}`, "--images-per-worker", "2"];
  const { engine, endpoint, driver } = await startBoth({ min: 1, max: 3 }, [
    ...scale,
    ...["--up-after", "0", "--down-after", "4"],
  ]);
  server = createServer({ stub: engine });
  closeLater(server, (server) => server.stop());
  expect(workersOf(endpoint)).toHaveLength(1);
  const alone = await tokensOf(engine);
  for (let round = 0; round < 2; round++) {
    const many = Promise.all(Array.from({ length: 10 }, () => tokensOf(engine)));
    await expect.poll(() => stateOf(engine).filter((state) => state === "ready").length, POLL).toBe(3);
    for (const tokens of await many) expect(tokens).toEqual(alone);
    await expect.poll(() => workersOf(endpoint), POLL).toHaveLength(1);
  }
  expect(await tokensOf(engine)).toEqual(alone);
  expect(driver.said()).toContain("503");
});
