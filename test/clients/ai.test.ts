import { mkdtempSync, readFileSync, rmSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { createOpenAICompatible } from "@ai-sdk/openai-compatible";
import { APICallError, type ImageModelV4, NoSuchModelError, type ProviderV4 } from "@ai-sdk/provider";
import { createProviderRegistry, generateImage } from "ai";
import { execa } from "execa";
import sharp from "sharp";
import { afterAll, beforeAll, describe, expect, inject, test } from "vitest";
import { createEngine, type Engine, ZiparError } from "zipar";
import { createZipar, type ZiparProvider, zipar } from "zipar/ai-sdk";
import { readMetric } from "../support/serve-command.ts";

// What zipar says of the specification agrees with the specification.
zipar satisfies ProviderV4;
zipar("demo") satisfies ImageModelV4;

const address = inject("address");
const providers: Record<string, ZiparProvider> = {};
let engine: Engine;

beforeAll(async () => {
  engine = await createEngine({ model: "demo", device: "cpu" });
  providers["in process"] = createZipar({ engine });
  providers["over HTTP"] = createZipar({ baseURL: address });
});
afterAll(() => engine.dispose());

describe.each(["in process", "over HTTP"])("generateImage %s", (where) => {
  const model = () => (providers[where] as ZiparProvider)("demo");

  test("makes pictures, and tells their seeds, forwards, windows and tokens", async () => {
    const { images, warnings, providerMetadata, usage, responses } = await generateImage({
      model: model(),
      prompt: "lighthouse",
      n: 3,
      size: "128x128",
      seed: 7,
      providerOptions: { zipar: { window: 4 } },
    });
    expect(images).toHaveLength(3);
    for (const { uint8Array, mediaType } of images) {
      expect(mediaType).toBe("image/png");
      expect((await sharp(uint8Array).metadata()).width).toBe(128);
    }
    const { image } = await engine.generate({ prompt: "lighthouse", seed: 9, window: 4 });
    const last = await sharp(images[2]?.uint8Array).raw().toBuffer();
    // Threads and batches may round a pixel otherwise.
    expect(Math.max(...last.map((value, k) => Math.abs(value - (image.pixels[k] as number))))).toBeLessThan(
      3,
    );
    expect(warnings).toEqual([]);
    expect(providerMetadata["zipar"]?.images).toMatchObject(
      [7, 8, 9].map((seed) => ({ seed, window: 4, size: "128x128", nextTokenForwards: 256 })),
    );
    expect(images[1]?.providerMetadata).toMatchObject({ zipar: { seed: 8, forwards: expect.any(Number) } });
    expect(usage).toEqual({ inputTokens: 1, outputTokens: 3 * 256, totalTokens: 1 + 3 * 256 });
    expect(responses).toHaveLength(1);
  });

  test("warns of a picture and a mask, and of a ratio beside a size", async () => {
    const png = await sharp({ create: { width: 8, height: 8, channels: 3, background: "red" } })
      .png()
      .toBuffer();
    const { warnings } = await generateImage({
      model: model(),
      prompt: { text: "cat", images: [png], mask: png },
      size: "128x128",
      aspectRatio: "1:1",
    });
    expect(warnings.map((warning) => "feature" in warning && warning.feature)).toEqual([
      "files",
      "mask",
      "aspectRatio",
    ]);
  });

  test("is cancelled by its signal", async () => {
    const leaving = new AbortController();
    const generating = generateImage({
      model: model(),
      prompt: "cat",
      n: 8,
      providerOptions: { zipar: { window: "full", lookahead: 0 } },
      abortSignal: leaving.signal,
    });
    setTimeout(() => leaving.abort(), 200);
    await expect(generating).rejects.toMatchObject({ name: "AbortError" });
    await expect
      .poll(
        async () =>
          (await readMetric(address, 'zipar_images{model="demo",state="requested"}')) +
          engine.occupancy.liveCount,
      )
      .toBe(0);
  });

  test("refuses a size that the model does not know, with those that it knows, without another try", async () => {
    const generating = generateImage({ model: model(), prompt: "cat", size: "1024x1024" });
    const error = await generating.catch((error: Error) => error);
    expect(error).toMatchObject({
      message: expect.stringMatching(/demo does not know the size 1024x1024; expected one of 128x128/),
    });
    expect(APICallError.isInstance(error) || ZiparError.is(error)).toBe(true);
  });
});

test("a full queue is tried again by the SDK", async () => {
  const small = await createEngine({ model: "demo", device: "cpu", maxImages: 1, maxQueue: 0 });
  try {
    const full = new AbortController();
    const holding = small.generate({ prompt: "cat", signal: full.signal }).catch(() => "cancelled");
    const model = createZipar({ engine: small })();
    const refusals: unknown[] = [];
    const watched: typeof model = {
      ...model,
      doGenerate: (options) =>
        model.doGenerate(options).catch((error) => {
          refusals.push(error);
          full.abort();
          throw error;
        }),
    };
    const { images } = await generateImage({ model: watched, prompt: "cat" });
    expect(images).toHaveLength(1);
    expect(APICallError.isInstance(refusals[0])).toBe(true);
    expect(refusals[0]).toMatchObject({ statusCode: 429, isRetryable: true, cause: { code: "queue-full" } });
    expect(await holding).toBe("cancelled");
  } finally {
    await small.dispose();
  }
});

test("is found by a registry, and says of other kinds of models that it has none", async () => {
  const registry = createProviderRegistry({ zipar: createZipar({ baseURL: address }) });
  const { image } = await generateImage({ model: registry.imageModel("zipar:demo"), prompt: "cat" });
  expect(image.mediaType).toBe("image/png");
  try {
    registry.languageModel("zipar:demo");
    expect.unreachable();
  } catch (error) {
    expect(NoSuchModelError.isInstance(error)).toBe(true);
  }
});

test("the SDK's provider for servers like OpenAI's makes a picture with zipar serve", async () => {
  const provider = createOpenAICompatible({ name: "local", baseURL: `${address}/v1` });
  const { image } = await generateImage({
    model: provider.imageModel("demo"),
    prompt: "cat",
    size: "128x128",
  });
  expect((await sharp(image.uint8Array).metadata()).width).toBe(128);
});

test("the first example of docs/ai-sdk.md runs as it stands, and its program ends", async () => {
  const page = readFileSync(join(import.meta.dirname, "../../docs/ai-sdk.md"), "utf8");
  const [, code = ""] = /^```js\n(.*?)^```/ms.exec(page) ?? [];
  const folder = mkdtempSync(join(import.meta.dirname, "node_modules/.run-"));
  try {
    writeFileSync(join(folder, "example.mjs"), code);
    const { stdout } = await execa(process.execPath, ["example.mjs"], { cwd: folder });
    expect(stdout).toMatch(/seed: 7/);
    expect((await sharp(join(folder, "lighthouse.png")).metadata()).width).toBe(128);
  } finally {
    rmSync(folder, { recursive: true });
  }
});
