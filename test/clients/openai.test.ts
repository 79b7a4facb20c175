import OpenAI from "openai";
import sharp from "sharp";
import { expect, inject, test } from "vitest";
import { readMetric } from "../support/serve-command.ts";
import { greyCount } from "./pictures.ts";

/** `openai` of npm. */
const address = inject("address");
const cancelledCount = () => readMetric(address, 'zipar_images_total{model="demo",outcome="cancelled"}');
const client = new OpenAI({ baseURL: `${address}/v1`, apiKey: "any", maxRetries: 0 });

test("lists the models, and tells one of them", async () => {
  const models = await Array.fromAsync(await client.models.list());
  expect(models.map(({ id }) => id)).toEqual(["demo"]);
  expect(await client.models.retrieve("demo")).toMatchObject({ object: "model", owned_by: "zipar" });
});

test("generates pictures as base64, with usage", async () => {
  const { data, usage, created } = await client.images.generate({
    model: "demo",
    prompt: "lighthouse",
    n: 2,
  });
  expect(data).toHaveLength(2);
  for (const { b64_json } of data ?? []) {
    const { format, width, height } = await sharp(Buffer.from(b64_json ?? "", "base64")).metadata();
    expect([format, width, height]).toEqual(["png", 128, 128]);
  }
  expect(Math.abs(created - Date.now() / 1000)).toBeLessThan(600);
  expect(usage).toMatchObject({ input_tokens: 1, output_tokens: 2 * 256, total_tokens: 1 + 2 * 256 });
});

test("generates a picture behind a URL that it can fetch", async () => {
  const { data } = await client.images.generate({ prompt: "cat", response_format: "url" });
  const picture = await fetch(data?.[0]?.url ?? "");
  expect((await sharp(await picture.arrayBuffer()).metadata()).width).toBe(128);
});

test("streams previews, of which each shows more than the one before, and the picture", async () => {
  const stream = await client.images.generate({
    model: "demo",
    prompt: "lighthouse",
    stream: true,
    partial_images: 3,
    output_format: "png",
    // @ts-expect-error: zipar's own, which the client hands on
    zipar: { seed: 7, window: 4 },
  });
  const events = await Array.fromAsync(stream);
  expect(events.map(({ type }) => type)).toEqual([
    ...new Array(3).fill("image_generation.partial_image"),
    "image_generation.completed",
  ]);
  const previews = events.filter((event) => event.type === "image_generation.partial_image");
  expect(previews.map(({ partial_image_index }) => partial_image_index)).toEqual([0, 1, 2]);
  const greys = await Promise.all(events.map(({ b64_json }) => greyCount(Buffer.from(b64_json, "base64"))));
  for (const [k, grey] of greys.slice(1).entries()) expect(grey).toBeLessThan(greys[k] as number);
  expect(greys.at(-1)).toBeLessThan(100);
  const last = events.at(-1);
  expect(last?.type === "image_generation.completed" && last.usage.total_tokens).toBe(257);
});

test("leaves a stream, and its picture is cancelled", async () => {
  const cancelled = await cancelledCount();
  const stream = await client.images.generate({
    prompt: "cat",
    stream: true,
    partial_images: 3,
    // @ts-expect-error: zipar's own
    zipar: { window: "full", lookahead: 0 },
  });
  for await (const { type } of stream) if (type === "image_generation.partial_image") break;
  await expect.poll(cancelledCount).toBe(cancelled + 1);
});

test("gets errors of the classes that it has for them, in words", async () => {
  const refused = client.images.generate({ model: "demo", prompt: "cat", size: "1024x1024" });
  await expect(refused).rejects.toMatchObject({
    constructor: OpenAI.BadRequestError,
    param: "size",
    message: expect.stringContaining("demo does not know the size 1024x1024; expected one of 128x128"),
  });
  const unknown = client.images.generate({ model: "sdxl", prompt: "cat" });
  await expect(unknown).rejects.toMatchObject({
    constructor: OpenAI.NotFoundError,
    message: expect.stringContaining("demo"),
  });
});
