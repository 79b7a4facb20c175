import sharp from "sharp";
import { afterAll, beforeAll, describe, expect, test, vi } from "vitest";
import {
  createZipar,
  type ImageModelV4CallOptions,
  type ZiparProvider,
  zipar,
} from "../../src/ai-sdk/index.ts";
import { createEngine, type Engine, stubWorker, ZiparError } from "../../src/index.ts";
import { VERSION } from "../../src/version.ts";
import { recordingWorker } from "../support/recording-worker.ts";
import { nextTurn, STUB, type StubServer, stubServer } from "../support/stub-server.ts";

let stub: StubServer;
/** The same model, in this process and behind a server. */
const providers: Record<string, ZiparProvider> = {};

beforeAll(async () => {
  stub = await stubServer();
  providers["in process"] = createZipar({ engine: stub.engine });
  providers["over HTTP"] = createZipar({ baseURL: "http://localhost:7811", fetch: fetchOf(stub) });
});
afterAll(() => stub[Symbol.asyncDispose]());

function fetchOf({ server }: StubServer): typeof fetch {
  return (input, init) => server.fetch(new Request(input, init));
}

/** What `generateImage` of `ai` hands over. */
function call(options: Partial<ImageModelV4CallOptions> = {}): ImageModelV4CallOptions {
  return {
    prompt: "3",
    n: 1,
    size: undefined,
    aspectRatio: undefined,
    seed: 7,
    files: undefined,
    mask: undefined,
    providerOptions: {},
    abortSignal: undefined,
    headers: { "user-agent": "ai/7.0.173" },
    ...options,
  };
}

const generate = (where: string, options?: Partial<ImageModelV4CallOptions>) =>
  (providers[where] as ZiparProvider)("stub").doGenerate(call(options));

/** Of what an `APICallError` of the AI SDK is known by. */
const isApiCallError = (error: object) =>
  Object.entries({ "vercel.ai.error": true, "vercel.ai.error.AI_APICallError": true }).every(
    ([marker]) => (error as Record<symbol, unknown>)[Symbol.for(marker)] === true,
  );

describe.each(["in process", "over HTTP"])("%s", (where) => {
  test("makes the engine's picture of the seed, and says what it took", async () => {
    const result = await generate(where, { providerOptions: { zipar: { window: 2, lookahead: 0 } } });
    const expected = await stub.engine.generate({ prompt: "3", seed: 7, window: 2, lookahead: 0 });
    const { data, info } = await pixelsOf(result.images[0]);
    expect([info.format, info.width, info.height]).toEqual(["raw", 48, 32]);
    expect(data.equals(Buffer.from(expected.image.pixels))).toBe(true);
    const { forwards, nextTokenForwards, promptTokens } = expected.stats;
    expect(result).toMatchObject({
      warnings: [],
      providerMetadata: {
        zipar: { images: [{ seed: 7, size: "48x32", window: 2, forwards, nextTokenForwards }] },
      },
      response: { timestamp: expect.any(Date), modelId: "stub" },
      usage: { inputTokens: promptTokens, outputTokens: 24, totalTokens: 24 + promptTokens },
    });
  });

  test("makes several images in one call, of the seeds that follow", async () => {
    const { images, usage, providerMetadata } = await generate(where, { n: 11, seed: 100 });
    expect(images).toHaveLength(11);
    expect(providerMetadata.zipar.images.map(({ seed }) => seed)).toEqual(
      Array.from({ length: 11 }, (_, k) => 100 + k),
    );
    expect(usage.outputTokens).toBe(11 * 24);
    const again = await generate(where, { seed: 104 });
    expect((await pixelsOf(images[4])).data).toEqual((await pixelsOf(again.images[0])).data);
  });

  test("takes seeds at random where none is given, and names them", async () => {
    const { providerMetadata } = await generate(where, { n: 2, seed: undefined });
    const seeds = providerMetadata.zipar.images.map(({ seed }) => seed);
    expect(new Set(seeds).size).toBe(2);
  });

  test.each([
    [{ size: "48x32" }, []],
    [{ aspectRatio: "3:2" }, []],
    [{ size: "48x32", aspectRatio: "1:1" }, ["aspectRatio"]],
    [{ files: [{ type: "url", url: "http://x/y.png" }] }, ["files"]],
    [
      { files: [{ type: "file", mediaType: "image/png", data: "AAAA" }], mask: { type: "url", url: "x" } },
      ["files", "mask"],
    ],
    [{ files: [] }, []],
  ] as const)("of %j warns of %j and makes the picture", async (options, features) => {
    const { warnings, images } = await generate(where, options);
    expect(warnings.map(({ type, feature }) => [type, feature])).toEqual(
      features.map((feature) => ["unsupported", feature]),
    );
    expect(images).toHaveLength(1);
  });

  test.each(["png", "jpeg", "webp"] as const)("encodes as %s", async (outputFormat) => {
    const { images } = await generate(where, { providerOptions: { zipar: { outputFormat } } });
    expect((await sharp(bytesOf(images[0])).metadata()).format).toBe(outputFormat);
  });

  test.each([
    [{ size: "512x512" }, /stub does not know the size 512x512; expected one of 48x32/],
    [{ aspectRatio: "21:9" }, /stub does not know the ratio 21:9; expected one of 48x32/],
    [{ aspectRatio: "wide" as "1:1" }, /expected .*ratio/],
    [{ size: "big" as "1x1" }, /`size` = "big": expected pixels such as "512x512"/],
    [{ seed: -1 }, /`seed` = -1: expected a whole number from 0/],
    [{ seed: 1.5 }, /`seed` = 1.5: expected a whole number/],
    [{ prompt: "no such class" }, /no such class/],
    [{ prompt: undefined }, /`prompt` is missing|give `classLabel`/],
    [{ providerOptions: { zipar: { windw: 3 } } }, /windw/],
    [{ providerOptions: { zipar: { window: 0 } } }, /window` = 0: expected at least 1/],
    [{ providerOptions: { zipar: { seed: 3 } } }, /seed/],
    [{ providerOptions: { zipar: 3 } }, /zipar` = 3/],
  ] as const)("refuses %j in words, for good", async (options, message) => {
    const error = await generate(where, options).then(
      () => expect.fail("a picture"),
      (error: Error) => error,
    );
    expect(error.message).toMatch(message);
    expect((error as { isRetryable?: boolean }).isRetryable ?? false).toBe(false);
  });

  test("leaves the options of other providers alone", async () => {
    const { images } = await generate(where, { providerOptions: { openai: { style: "vivid" } } });
    expect(images).toHaveLength(1);
  });

  test("ends with the signal's own reason, at once where it is aborted already", async () => {
    const before = stub.worker.batches.length;
    await expect(generate(where, { abortSignal: AbortSignal.abort() })).rejects.toMatchObject({
      name: "AbortError",
    });
    expect(stub.worker.batches.length).toBe(before);
  });

  test("an aborted call leaves nothing behind", async () => {
    const leaving = new AbortController();
    const reason = new Error("enough");
    stub.worker.beforeForward = async (index) => {
      if (index > 0 && !leaving.signal.aborted) leaving.abort(reason);
      await nextTurn();
    };
    await expect(generate(where, { n: 3, abortSignal: leaving.signal })).rejects.toBe(reason);
    stub.worker.beforeForward = nextTurn;
    const { cacheRowCount } = stub.engine.occupancy;
    await expect
      .poll(() => stub.engine.occupancy)
      .toEqual({ cacheRowCount, freeCacheRowCount: cacheRowCount, liveCount: 0, waitingCount: 0 });
  });

  test("a full queue is an APICallError that the SDK tries again", async () => {
    await using full = await stubServer({ maxQueue: 0 }, { maxImages: 1, maxQueue: 0 });
    const provider =
      where === "in process"
        ? createZipar({ engine: full.engine })
        : createZipar({ baseURL: "http://localhost:7811/v1/", fetch: fetchOf(full) });
    const error = await provider("stub")
      .doGenerate(call({ n: 3 }))
      .then(
        () => expect.fail("a picture"),
        (error: Error) => error,
      );
    expect(isApiCallError(error)).toBe(true);
    expect(error).toMatchObject({ name: "AI_APICallError", statusCode: 429, isRetryable: true });
    await expect.poll(() => full.engine.occupancy.liveCount).toBe(0);
  });
});

describe("over HTTP", () => {
  test("says what the address, the headers and the key are for", async () => {
    const requests: Request[] = [];
    const provider = createZipar({
      baseURL: "http://127.0.0.1:1/prefix/v1",
      apiKey: "secret",
      headers: { "x-own": "a" },
      fetch: async (input, init) => {
        requests.push(new Request(input, init));
        throw new TypeError("fetch failed", { cause: new Error("connect ECONNREFUSED") });
      },
    });
    const error = await provider()
      .doGenerate(call())
      .catch((error: Error) => error);
    expect(error).toMatchObject({
      message: expect.stringMatching(/no answer of http:.*ECONNREFUSED; is `zipar serve` running there\?/),
      isRetryable: true,
    });
    expect(requests.map(({ url }) => url)).toEqual(["http://127.0.0.1:1/prefix/v1/images/generations"]);
    expect(Object.fromEntries((requests[0] as Request).headers)).toMatchObject({
      authorization: "Bearer secret",
      "x-own": "a",
      "user-agent": "ai/7.0.173",
    });
  });

  test.each([
    [
      "a page of something else",
      new Response("<html>", { status: 404 }),
      /status 404, which is no reply/,
      false,
    ],
    ["a failing proxy", new Response("<html>", { status: 502 }), /status 502/, true],
    ["another server", Response.json({ data: [] }), /did not send a whole picture/, true],
    [
      "a stream that is cut off",
      new Response(": zipar\n\n", { headers: { "content-type": "text/event-stream; charset=utf-8" } }),
      /did not send a whole picture/,
      true,
    ],
    [
      "a stream that ends with an error",
      new Response(
        `event: error\ndata: ${JSON.stringify({ type: "error", error: { type: "server_error", message: "no room", code: "out_of_memory" } })}\n\n`,
        { headers: { "content-type": "text/event-stream" } },
      ),
      /^no room$/,
      true,
    ],
  ])("%s is told", async (_, response, message, isRetryable) => {
    const provider = createZipar({ baseURL: "http://localhost:7811", fetch: async () => response });
    const error = await provider("demo")
      .doGenerate(call())
      .catch((error: Error) => error);
    expect(error).toMatchObject({ message: expect.stringMatching(message), isRetryable });
    expect(isApiCallError(error)).toBe(true);
  });

  test("warns of a size that the server replaced", async () => {
    await using nearest = await stubServer({ unknownSize: "nearest" });
    const provider = createZipar({ baseURL: "http://localhost:7811", fetch: fetchOf(nearest) });
    const { warnings } = await provider("stub").doGenerate(call({ size: "512x512" }));
    expect(warnings).toEqual([
      { type: "unsupported", feature: "size", details: expect.stringMatching(/48x32/) },
    ]);
  });
});

describe("engines of its own", () => {
  test("start when they are first asked for, one for each model, and end with the provider", async () => {
    const worker = recordingWorker(STUB);
    const provider = createZipar({ worker: worker.source, model: "one" });
    expect(worker.startCount).toBe(0);
    await Promise.all([provider().doGenerate(call()), provider("one").doGenerate(call())]);
    expect(worker.startCount).toBe(1);
    await provider("two").doGenerate(call());
    expect(worker.startCount).toBe(2);
    await provider.dispose();
    expect(worker.stopCount).toBe(2);
    await provider().doGenerate(call());
    expect(worker.startCount).toBe(3);
    await provider[Symbol.asyncDispose]();
  });

  test("whose start failed are started again by the next call", async () => {
    const stubbed = stubWorker(STUB);
    let starts = 0;
    const open: typeof stubbed.open = async (options) => {
      if (++starts === 1) throw new ZiparError({ code: "out-of-memory", message: "no room" });
      return stubbed.open(options);
    };
    await using provider = createZipar({ worker: { open } });
    await expect(provider().doGenerate(call())).rejects.toMatchObject({ code: "out-of-memory" });
    expect((await provider().doGenerate(call())).images).toHaveLength(1);
  });

  test("go on starting for the others when one who waits is gone", async () => {
    const worker = recordingWorker(STUB);
    const leaving = new AbortController();
    const slow: typeof worker.source.open = async (options) => {
      await expect.poll(() => leaving.signal.aborted).toBe(true);
      return worker.source.open(options);
    };
    await using provider = createZipar({ worker: { open: slow } });
    const left = provider().doGenerate(call({ abortSignal: leaving.signal }));
    const stays = provider().doGenerate(call());
    leaving.abort();
    await expect(left).rejects.toMatchObject({ name: "AbortError" });
    expect((await stays).images).toHaveLength(1);
    expect(worker.startCount).toBe(1);
  });

  test("that still start are given up", async () => {
    const open = (options: { readonly signal?: AbortSignal | undefined }) =>
      new Promise<never>((_, reject) =>
        options.signal?.addEventListener("abort", () => reject(options.signal?.reason)),
      );
    const provider = createZipar({ worker: { open } });
    const waiting = provider().doGenerate(call());
    const refused = expect(waiting).rejects.toMatchObject({ code: "engine-closed" });
    await nextTurn();
    await provider.dispose();
    await refused;
  });

  test("an engine that was handed over stays open", async () => {
    const engine: Engine = await createEngine({ worker: stubWorker(STUB) });
    const provider = createZipar({ engine });
    expect(provider().modelId).toBe("stub");
    await provider.dispose();
    expect((await provider().doGenerate(call())).images).toHaveLength(1);
    await engine.dispose();
  });
});

test("is a provider for registries: other kinds of models are refused as the SDK does it", () => {
  expect(zipar.specificationVersion).toBe("v4");
  for (const model of [zipar("demo"), zipar.imageModel("demo"), zipar.image("demo"), zipar()])
    expect(model).toMatchObject({ specificationVersion: "v4", provider: "zipar.image", modelId: "demo" });
  expect(() => zipar.languageModel("demo")).toThrow(/makes? images/);
  try {
    zipar.embeddingModel("demo");
  } catch (error) {
    expect(error).toMatchObject({
      name: "AI_NoSuchModelError",
      modelType: "embeddingModel",
      modelId: "demo",
    });
    expect((error as Record<symbol, unknown>)[Symbol.for("vercel.ai.error.AI_NoSuchModelError")]).toBe(true);
  }
});

test.each([
  [{ baseURL: "localhost:7811" }, /baseURL.*expected a URL/],
  [{ baseURL: undefined }, /baseURL.*expected a URL/],
  [{ baseURL: "http://localhost", model: "demo" }, /model/],
  [{ engine: {} }, /engine.*createEngine/],
  [{ modle: "demo" }, /modle/],
  [{ signal: new AbortController().signal }, /signal/],
  ["http://localhost:7811", /createZipar/],
])("createZipar(%j) is refused at once", (options, message) => {
  expect(() => createZipar(options as never)).toThrow(message);
});

test("the default provider's engines are the same ones for every copy of the module", async () => {
  const key = Symbol.for(`zipar.ai-sdk.engines ${VERSION}`);
  const shared = globalThis as unknown as Record<symbol, unknown>;
  const before = shared[key];
  expect(before).toBeDefined();
  vi.resetModules();
  const again = await import("../../src/ai-sdk/index.ts");
  expect(again.zipar).not.toBe(zipar);
  expect(shared[key]).toBe(before);
});

function bytesOf(image: string | Uint8Array | undefined): Buffer {
  return typeof image === "string" ? Buffer.from(image, "base64") : Buffer.from(image as Uint8Array);
}

function pixelsOf(image: string | Uint8Array | undefined) {
  return sharp(bytesOf(image)).raw().toBuffer({ resolveWithObject: true });
}
