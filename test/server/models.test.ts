import { describe, expect, test } from "vitest";
import { stubWorker, type WorkerSource } from "../../src/index.ts";
import { createServer } from "../../src/server/index.ts";
import { nearestGrid } from "../../src/server/nearest-grid.ts";
import { planEvictions } from "../../src/server/plan-evictions.ts";
import { jsonPost } from "../support/json-post.ts";
import { recordingWorker } from "../support/recording-worker.ts";
import { refusalOf, STUB, stubServer } from "../support/stub-server.ts";

/** A stub that is said to take so many bytes. */
function sized(bytes: number): {
  readonly source: WorkerSource;
  readonly opened: () => number;
  readonly stopped: () => number;
} {
  const worker = recordingWorker(STUB);
  const stub = stubWorker(STUB);
  return {
    source: {
      open: worker.source.open,
      describe: async (options) => ({
        ...((await stub.describe?.(options)) as NonNullable<
          Awaited<ReturnType<NonNullable<WorkerSource["describe"]>>>
        >),
        weights: [{ part: "model", bytes }],
      }),
    },
    opened: () => worker.startCount,
    stopped: () => worker.stopCount,
  };
}

function post(server: ReturnType<typeof createServer>, body: object): Promise<Response> {
  return server.fetch(
    new Request("http://localhost/v1/images/generations", jsonPost({ prompt: "3", ...body })),
  );
}

describe("a server with several models", () => {
  test("hands a request to the one that it names, and to the first one else", async () => {
    const [a, b] = [sized(1), sized(1)];
    await using server = createServer({ a: { worker: a.source }, b: { worker: b.source } });
    await server.ready;
    const modelOf = async (body: object) =>
      ((await (await post(server, body)).json()) as { zipar: { model: string } }).zipar.model;
    expect([
      await modelOf({ model: "b" }),
      await modelOf({}),
      await modelOf({ model: "gpt-image-1" }),
    ]).toEqual(["b", "a", "a"]);
    expect(await refusalOf(await post(server, { model: "c" }))).toMatchObject({
      status: 404,
      code: "model_not_found",
      message: 'there is no model "c" here; expected one of a, b',
    });
  });

  test("ends the engines that it loaded, and not those that it was given", async () => {
    const loaded = sized(1);
    await using stub = await stubServer({}, {}, { loaded: { worker: loaded.source } });
    await stub.server.stop();
    expect([loaded.stopped(), stub.worker.stopCount]).toEqual([1, 0]);
  });

  test("loads on demand, once for all who wait", async () => {
    const a = sized(1);
    await using server = createServer({ a: { worker: a.source } }, { load: "demand" });
    await server.ready;
    expect(a.opened()).toBe(0);
    expect((await server.fetch(new Request("http://localhost/readyz"))).status).toBe(200);
    const replies = await Promise.all([post(server, {}), post(server, {}), post(server, {})]);
    expect(replies.map(({ status }) => status)).toEqual([200, 200, 200]);
    expect(a.opened()).toBe(1);
  });

  test("keeps to its memory budget: the longest unused model makes room", async () => {
    const [a, b, c] = [sized(10), sized(10), sized(10)];
    const models = { a: { worker: a.source }, b: { worker: b.source }, c: { worker: c.source } };
    await using server = createServer(models, { load: "demand", memoryBudgetBytes: 25 });
    for (const model of ["a", "b", "a", "c", "a"]) await (await post(server, { model })).arrayBuffer();
    expect([a.opened(), b.opened(), c.opened()]).toEqual([1, 1, 1]);
    expect([a.stopped(), b.stopped(), c.stopped()]).toEqual([0, 1, 0]);
    expect((await post(server, { model: "b" })).status).toBe(200);
    expect([a.stopped(), b.stopped(), c.stopped()]).toEqual([0, 1, 1]);
  });

  test("says so when a model can never fit", async () => {
    await using server = createServer(
      { a: { worker: sized(2 ** 40).source } },
      { load: "demand", memoryBudgetBytes: 2 ** 30 },
    );
    const refusal = await refusalOf(await post(server, {}));
    expect(refusal.status).toBe(500);
    expect(refusal.message).toContain("needs 1024.0 GiB and the memory budget is 1.0 GiB");
  });

  test("has `ready` reject, and requests fail, with a model that cannot be loaded; a later request tries again", async () => {
    let attempts = 0;
    const source: WorkerSource = {
      open: (options) => {
        attempts += 1;
        if (attempts < 3) throw new Error("/secret/path is broken");
        return stubWorker(STUB).open(options);
      },
    };
    await using server = createServer({ a: { worker: source } });
    await expect(server.ready).rejects.toThrow("broken");
    const readiness = await server.fetch(new Request("http://localhost/readyz"));
    expect([readiness.status, await readiness.json()]).toMatchObject([
      503,
      { models: [{ name: "a", state: "failed" }] },
    ]);
    const refusal = await refusalOf(await post(server, {}));
    expect(refusal.status).toBe(500);
    expect(refusal.message).not.toContain("secret");
    expect((await post(server, {})).status).toBe(200);
  });

  test("is not ready while it loads, and tells how far it is", async () => {
    let finish = () => {};
    const source: WorkerSource = {
      open: async (options) => {
        options.onProgress?.({ phase: "loading weights", completed: 3, total: 7, unit: "MB" });
        await new Promise<void>((resolve) => (finish = resolve));
        return stubWorker(STUB).open(options);
      },
    };
    await using server = createServer({ a: { worker: source } });
    const readiness = async () => {
      const response = await server.fetch(new Request("http://localhost/readyz"));
      return [response.status, await response.json()];
    };
    await expect.poll(readiness).toEqual([
      503,
      {
        status: "loading",
        models: [
          { name: "a", state: "loading", phase: "loading weights", completed: 3, total: 7, unit: "MB" },
        ],
      },
    ]);
    const waiting = post(server, {}); // it waits for the load
    finish();
    expect((await waiting).status).toBe(200);
    expect(await readiness()).toEqual([200, { status: "ready", models: [{ name: "a", state: "ready" }] }]);
  });

  test("lets a client that waits for a load hang up", async () => {
    let finish = () => {};
    const source: WorkerSource = {
      open: async (options) => {
        await new Promise<void>((resolve) => (finish = resolve));
        return stubWorker(STUB).open(options);
      },
    };
    await using server = createServer({ a: { worker: source } });
    const abort = new AbortController();
    const init = { ...jsonPost({ prompt: "3" }), signal: abort.signal };
    const waiting = server.fetch(new Request("http://localhost/v1/images/generations", init));
    await new Promise((resolve) => setTimeout(resolve, 5));
    abort.abort();
    expect((await waiting).status).toBe(499);
    finish();
    await server.ready;
    const page = await (await server.fetch(new Request("http://localhost/metrics"))).text();
    expect(page).toContain('zipar_images{model="a",state="requested"} 0');
  });

  test.each(["", "a b", "../a", "/a", 'a"b', "a\nb"])("refuses the name %j", (name) => {
    expect(() => createServer({ [name]: { worker: stubWorker(STUB) } })).toThrow(/is no name for a model/);
  });

  test("needs one", () => {
    expect(() => createServer({})).toThrow(/no model is given/);
  });
});

describe("what leaves so that another fits", () => {
  const at = (name: string, bytes: number, usedAt: number, mayLeave = true) => ({
    name,
    bytes,
    usedAt,
    mayLeave,
  });
  const namesOf = (loaded: Parameters<typeof planEvictions>[0], bytes: number, budget: number) =>
    planEvictions(loaded, { name: "new", bytes }, budget).map(({ name }) => name);

  test("is nothing where there is room", () => expect(namesOf([at("a", 5, 1)], 5, 10)).toEqual([]));
  test("is the longest unused, and no more than must", () =>
    expect(namesOf([at("a", 4, 3), at("b", 4, 1), at("c", 4, 2)], 4, 12)).toEqual(["b"]));
  test("is as many as must", () =>
    expect(namesOf([at("a", 4, 3), at("b", 4, 1), at("c", 4, 2)], 8, 12)).toEqual(["b", "c"]));
  test("is nobody who is in use, and then there is no room for now", () => {
    expect(namesOf([at("a", 4, 3), at("b", 4, 1, false)], 4, 8)).toEqual(["a"]);
    expect(() => namesOf([at("a", 4, 3), at("b", 4, 1, false)], 8, 10)).toThrow(/try again later/);
  });
});

test.each([
  ["1024x1024", "1024x1024"],
  ["100x100", "512x512"],
  ["1792x1024", "960x544"],
  ["1024x1792", "544x960"],
  ["3000x1000", "960x544"],
  ["1:1", "1024x1024"],
  ["16:9", "960x544"],
])("the nearest of some sizes to %s is %s", (wanted, nearest) => {
  const grids = ["512x512", "1024x1024", "960x544", "544x960"].map((name) => {
    const [width, height] = name.split("x").map(Number) as [number, number];
    return { rows: height / 16, columns: width / 16, width, height };
  });
  const [width, height] = wanted.split("x").map(Number) as [number, number];
  const size = wanted.includes(":") ? (wanted as `${number}:${number}`) : { width, height };
  const { width: w, height: h } = nearestGrid(size, grids);
  expect(`${w}x${h}`).toBe(nearest);
});

test("the page of metrics tells images, forwards, what they saved, the queue, the worker and memory", async () => {
  await using stub = await stubServer();
  await (await stub.post({ prompt: "3", n: 2, window: 2, lookahead: 0 })).arrayBuffer();
  await stub.post({ prompt: "lighthouse" });
  const response = await stub.fetch("/metrics");
  expect(response.headers.get("content-type")).toContain("text/plain; version=0.0.4");
  const lines = (await response.text()).split("\n");
  for (const line of [
    'zipar_images_total{model="stub",outcome="finished"} 2',
    'zipar_image_forwards_total{model="stub"} 24',
    'zipar_image_forwards_saved_total{model="stub"} 24',
    'zipar_image_seconds_count{model="stub"} 2',
    'zipar_images{model="stub",state="decoding"} 0',
    'zipar_images{model="stub",state="waiting"} 0',
    'zipar_images{model="stub",state="requested"} 0',
    'zipar_workers{model="stub",state="ready"} 1',
    'zipar_workers{model="stub",state="lost"} 0',
    'zipar_worker_restarts{model="stub"} 0',
    'zipar_worker_forwards{model="stub"} 12',
    'zipar_cache_rows{model="stub"} 16',
    'zipar_cache_rows_free{model="stub"} 16',
    'zipar_model_loaded{model="stub"} 1',
    'zipar_http_requests_total{route="/v1/images/generations",status="400"} 1',
  ])
    expect(lines).toContain(line);
  for (const start of [
    'zipar_forward_ms{model="stub"} ',
    'zipar_memory_bytes{model="stub",kind="resident"} ',
  ])
    expect(lines.find((line) => line.startsWith(start))).toBeDefined();
});
