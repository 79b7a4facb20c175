import { afterAll, beforeAll, describe, expect, test } from "vitest";
import { allEventsOf, refusalOf, type StubServer, stubServer } from "../support/stub-server.ts";

/** What image clients send, as it is in their sources. The stub's prompts are numbers of classes. */
let stub: StubServer;
beforeAll(async () => {
  stub = await stubServer({ unknownSize: "refuse" });
});
afterAll(() => stub[Symbol.asyncDispose]());

describe("Open WebUI", () => {
  const body = { model: "stub", prompt: "3", n: 1, size: "512x512", response_format: "b64_json" };

  test("is told the sizes when its default of 512x512 is none", async () => {
    const { status, message } = await refusalOf(await stub.post(body));
    expect([status, message]).toEqual([
      400,
      "stub does not know the size 512x512; expected one of 48x32 (3:2)",
    ]);
  });

  test.each([{ size: "auto" }, { size: "48x32" }, { size: "auto", response_format: undefined }])(
    "gets raw base64 with %j",
    async (fields) => {
      const response = await stub.post({ ...body, ...fields });
      expect(await response.json()).toMatchObject({
        data: [{ b64_json: expect.stringMatching(/^iVBORw0KGgo/) }],
      });
    },
  );
});

describe("n8n", () => {
  const body = { prompt: "3", model: "dall-e-3", quality: "hd", style: "vivid", size: "1792x1024" };

  test("gets the nearest size and an address or base64, from a server that replaces sizes", async () => {
    await using nearest = await stubServer({ unknownSize: "nearest" });
    const url = { data: [{ url: expect.stringMatching(/^http:\/\/localhost:7811\/images\//) }] };
    const base64 = { data: [{ b64_json: expect.stringMatching(/^iVBORw0KGgo/) }] };
    expect(await (await nearest.post({ ...body, response_format: "url" })).json()).toMatchObject(url);
    expect(await (await nearest.post({ ...body, response_format: "b64_json" })).json()).toMatchObject(base64);
  });

  test("is told the sizes by one that does not", async () => {
    expect(await refusalOf(await stub.post(body))).toMatchObject({ status: 400, param: "size" });
  });
});

describe("LiteLLM and openai-python", () => {
  test("get a reply of their types: whole numbers, image usage, no sizes beside the known", async () => {
    const response = await stub.post(
      { model: "zipar", prompt: "3", n: 2 },
      { headers: { authorization: "Bearer sk-anything" } },
    );
    const reply = (await response.json()) as Record<string, unknown>;
    expect(Object.keys(reply).sort()).toEqual([
      "background",
      "created",
      "data",
      "output_format",
      "usage",
      "zipar",
    ]);
    expect(reply).toMatchObject({
      created: expect.any(Number),
      data: [{ b64_json: expect.any(String) }, { b64_json: expect.any(String) }],
      background: "opaque",
      output_format: "png",
      usage: {
        input_tokens: expect.any(Number),
        output_tokens: expect.any(Number),
        total_tokens: expect.any(Number),
        input_tokens_details: { image_tokens: expect.any(Number), text_tokens: expect.any(Number) },
      },
    });
    for (const item of reply["data"] as object[]) expect(Object.keys(item)).toEqual(["b64_json"]);
  });

  test("get streams that end with an image and its usage", async () => {
    const response = await stub.post({ model: "stub", prompt: "3", stream: true, partial_images: 2, n: 1 });
    const events = await allEventsOf(response);
    expect(events.map(({ event, data }) => [event, data.type])).toEqual([
      ...new Array(2).fill(["image_generation.partial_image", "image_generation.partial_image"]),
      ["image_generation.completed", "image_generation.completed"],
    ]);
  });
});

describe("integration_openai of Nextcloud", () => {
  test("is told what `response_format` is for, not a failure of the server", async () => {
    const refusal = await refusalOf(await stub.post({ prompt: "3", response_format: { type: "text" } }));
    expect(refusal).toMatchObject({ status: 400, param: "response_format" });
  });

  test("is told the sizes when its default of 1024x1024 is none", async () => {
    const { status, message } = await refusalOf(await stub.post({ prompt: "3", n: 1, size: "1024x1024" }));
    expect([status, message]).toEqual([400, expect.stringContaining("expected one of 48x32")]);
  });
});

describe("the list of models", () => {
  test("has the form of OpenAI's, and says which are for images", async () => {
    expect(await (await stub.fetch("/v1/models")).json()).toEqual({
      object: "list",
      data: [
        {
          id: "stub",
          object: "model",
          created: expect.any(Number),
          owned_by: "zipar",
          modalities: { input: ["text"], output: ["image"] },
          zipar: { state: "ready", family: "stub", sizes: ["48x32"], classes: 1000 },
        },
      ],
    });
  });

  test("has each model at its own address", async () => {
    expect(await (await stub.fetch("/v1/models/stub")).json()).toMatchObject({ id: "stub", object: "model" });
    expect(await refusalOf(await stub.fetch("/v1/models/other"))).toMatchObject({
      status: 404,
      code: "model_not_found",
    });
  });
});

test("the AI SDK's provider for OpenAI gets what it decodes", async () => {
  const body = { model: "stub", prompt: "3", n: 1, size: "48x32", response_format: "b64_json" };
  expect(await (await stub.post(body)).json()).toMatchObject({ data: [{ b64_json: expect.any(String) }] });
});
