import sharp from "sharp";
import { afterAll, beforeAll, describe, expect, test } from "vitest";
import { IGNORED_FIELDS } from "../../src/server/image-fields.ts";
import { refusalOf, type StubServer, stubServer } from "../support/stub-server.ts";

let stub: StubServer;
beforeAll(async () => {
  stub = await stubServer();
});
afterAll(() => stub[Symbol.asyncDispose]());

interface Reply {
  readonly created: number;
  readonly data: readonly { readonly b64_json?: string; readonly url?: string }[];
  readonly usage: Record<string, unknown>;
  readonly zipar: { readonly size: string; readonly images: readonly { readonly seed: number }[] };
}

async function replyTo(body: unknown): Promise<Reply & Record<string, unknown>> {
  const response = await stub.post(body);
  const reply = await response.json();
  expect(reply).not.toHaveProperty("error");
  expect(response.status).toBe(200);
  return reply as Reply & Record<string, unknown>;
}

async function pixelsOf({ data }: Reply, k = 0): Promise<readonly number[]> {
  return [
    ...(await sharp(Buffer.from(data[k]?.b64_json ?? "", "base64"))
      .raw()
      .toBuffer()),
  ];
}

async function expected(seed: number, classLabel: number): Promise<readonly number[]> {
  return [...(await stub.engine.generate({ classLabel, seed })).image.pixels];
}

describe("POST /v1/images/generations answers", () => {
  test("with the picture that the engine makes of the seed", async () => {
    expect(await pixelsOf(await replyTo({ prompt: "3", seed: 5 }))).toEqual(await expected(5, 3));
  });

  test("with as many pictures as asked for, of seeds that follow each other, decoded together", async () => {
    const before = stub.worker.batches.length;
    const reply = await replyTo({ prompt: "3", n: 3, seed: 5 });
    expect(reply.zipar.images.map(({ seed }) => seed)).toEqual([5, 6, 7]);
    for (const k of [0, 1, 2]) expect(await pixelsOf(reply, k)).toEqual(await expected(5 + k, 3));
    expect(stub.worker.batches[before]).toHaveLength(3);
  });

  test("with `created` in seconds, and `usage` in the form of images", async () => {
    const { created, usage } = await replyTo({ prompt: "3", n: 2 });
    expect(Math.abs(created - Date.now() / 1000)).toBeLessThan(600);
    expect(Number.isInteger(created)).toBe(true);
    expect(usage).toEqual({
      input_tokens: 1,
      input_tokens_details: { image_tokens: 0, text_tokens: 1 },
      output_tokens: 48,
      total_tokens: 49,
    });
  });

  test("without a `size` or a `quality` that OpenAI's clients do not know", async () => {
    const reply = await replyTo({ prompt: "3", size: "48x32", quality: "hd" });
    expect(reply).not.toHaveProperty("size");
    expect(reply).not.toHaveProperty("quality");
    expect(reply.zipar.size).toBe("48x32");
  });

  test.each([
    ["png", {}, "png"],
    ["png", { output_compression: 100 }, "png"],
    ["jpeg", {}, "jpeg"],
    ["jpeg", { output_compression: 10 }, "jpeg"],
    ["jpeg", { output_compression: 0 }, "jpeg"],
    ["webp", { output_compression: 50 }, "webp"],
  ])("in the format that was asked for: %s %o", async (output_format, compression, format) => {
    const reply = await replyTo({ prompt: "3", output_format, ...compression });
    const data = Buffer.from(reply.data[0]?.b64_json ?? "", "base64");
    expect(await sharp(data).metadata()).toMatchObject({ format, width: 48, height: 32 });
    expect(reply.output_format).toBe(format);
  });

  test("smaller files for a lower `output_compression`", async () => {
    const lengthOf = async (output_compression: number) =>
      (await replyTo({ prompt: "3", seed: 1, output_format: "jpeg", output_compression })).data[0]?.b64_json
        ?.length;
    expect(await lengthOf(20)).toBeLessThan((await lengthOf(90)) as number);
  });

  test("with a URL that can be fetched without a key", async () => {
    const { data } = await replyTo({ prompt: "3", seed: 5, response_format: "url" });
    const url = new URL(data[0]?.url ?? "");
    expect(url.origin).toBe("http://localhost:7811");
    const picture = await stub.fetch(url.pathname);
    expect(picture.headers.get("content-type")).toBe("image/png");
    expect(picture.headers.get("cross-origin-resource-policy")).toBe("cross-origin"); // pages may show it
    const pixels = await sharp(await picture.arrayBuffer())
      .raw()
      .toBuffer();
    expect([...pixels]).toEqual(await expected(5, 3));
    expect((await stub.fetch("/images/other.png")).status).toBe(404);
  });

  test.each([
    ["plain, in snake_case", { class_label: 3, guidance_scale: 2, top_k: 2, window: 2, seed: 9 }],
    ["plain, as the SDK writes them", { classLabel: 3, guidanceScale: 2, topK: 2, window: 2, seed: 9 }],
    ["under `zipar`", { zipar: { class_label: 3, guidanceScale: 2, top_k: 2, window: 2, seed: 9 } }],
    ["in both places", { class_label: 3, seed: 9, zipar: { guidanceScale: 2, topK: 2, window: 2 } }],
  ])("to zipar's own options, %s", async (_, options) => {
    const own = { classLabel: 3, guidanceScale: 2, topK: 2, window: 2, seed: 9 };
    const { image } = await stub.engine.generate(own);
    expect(await pixelsOf(await replyTo({ prompt: "", ...options }))).toEqual([...image.pixels]);
  });

  test.each(IGNORED_FIELDS)("with the same picture whatever `%s` says", async (field) => {
    for (const value of ["hd", "nonsense", 3, { a: 1 }])
      expect(await pixelsOf(await replyTo({ prompt: "3", seed: 5, [field]: value }))).toEqual(
        await expected(5, 3),
      );
  });

  test("with another picture each time where `seed` is -1, and names its seed", async () => {
    const replies = [
      await replyTo({ prompt: "3", seed: -1 }),
      await replyTo({ prompt: "3", zipar: { seed: -1 } }),
    ];
    const seeds = replies.map(({ zipar }) => zipar.images[0]?.seed as number);
    expect(seeds[0]).not.toBe(seeds[1]);
    expect(await pixelsOf(replies[0] as Reply)).toEqual(await expected(seeds[0] as number, 3));
  });

  test("to fields that are null as to those that are left out", async () => {
    const nothing = Object.fromEntries(
      [
        "model",
        "n",
        "size",
        "response_format",
        "output_format",
        "output_compression",
        "background",
        "stream",
        "partial_images",
        "window",
        "zipar",
      ].map((name) => [name, null]),
    );
    expect(await pixelsOf(await replyTo({ prompt: "3", seed: 5, ...nothing }))).toEqual(await expected(5, 3));
  });

  test.each([
    "zipar",
    "dall-e-2",
    "dall-e-3",
    "gpt-image-1",
    "gpt-image-2-2026-04-21",
    "chatgpt-image-latest",
    "stub",
    "",
  ])("to the model %j", async (model) => {
    await replyTo({ prompt: "3", model });
  });

  test.each(["auto", "48x32", "3:2"])("to the size %s", async (size) => {
    expect((await replyTo({ prompt: "3", size })).zipar.size).toBe("48x32");
  });
});

describe("POST /v1/images/generations refuses by name", () => {
  test.each<[Record<string, unknown>, string | null, string]>([
    [{}, "prompt", "`prompt` is missing"],
    [{ prompt: 3 }, "prompt", "`prompt` = 3"],
    [{ prompt: "lighthouse" }, null, 'no class "lighthouse"; expected a class from 0 to 999'],
    [{ prompt: "1000" }, null, 'no class "1000"; expected a class from 0 to 999'],
    [{ prompt: "3", classLabel: 4 }, null, "not both"],
    [{ prompt: "3", prefix: { tokens: [[1]] } }, "prefix", "POST /zipar/generations alone"],
    [{ prompt: "3", zipar: { prefix: { tokens: [[1]] } } }, "zipar.prefix", "POST /zipar/generations alone"],
    [{ prompt: "3", negative_prompt: "grey" }, null, "takes no `negativePrompt`"],
    [{ prompt: "3", n: 0 }, "n", "`n` = 0"],
    [{ prompt: "3", n: 11 }, "n", "`n` = 11"],
    [{ prompt: "3", n: "2" }, "n", '`n` = "2": expected a whole number'],
    [
      { prompt: "3", size: "512x512" },
      "size",
      "stub does not know the size 512x512; expected one of 48x32 (3:2)",
    ],
    [{ prompt: "3", size: "0x0" }, "size", '"auto", pixels such as "512x512"'],
    [{ prompt: "3", size: "0:1" }, "size", "a ratio such as"],
    [{ prompt: "3", size: "large" }, "size", '"auto", pixels such as "512x512"'],
    [{ prompt: "3", size: { width: 48, height: 32 } }, "size", "`size`"],
    [{ prompt: "3", model: "sdxl" }, "model", 'no model "sdxl" here; expected one of stub'],
    [{ prompt: "3", model: "/etc/passwd" }, "model", "expected one of stub"],
    [{ prompt: "3", model: "../stub" }, "model", "expected one of stub"],
    [
      { prompt: "3", response_format: { type: "json_object" } },
      "response_format",
      'expected "b64_json" or "url"',
    ],
    [{ prompt: "3", response_format: "file" }, "response_format", 'expected "b64_json" or "url"'],
    [{ prompt: "3", output_format: "gif" }, "output_format", 'expected "png", "jpeg" or "webp"'],
    [{ prompt: "3", output_compression: 101, output_format: "jpeg" }, "output_compression", "101"],
    [{ prompt: "3", output_compression: 50 }, "output_compression", "means nothing to PNG"],
    [{ prompt: "3", background: "transparent" }, "background", "opaque"],
    [{ prompt: "3", background: "blue" }, "background", "`background`"],
    [{ prompt: "3", partial_images: 4 }, "partial_images", "`partial_images` = 4"],
    [{ prompt: "3", stream: "yes" }, "stream", "`stream`"],
    [{ prompt: "3", stream: true, n: 2 }, "n", "a stream holds one image"],
    [{ prompt: "3", stream: true, response_format: "url" }, "response_format", "b64_json"],
    [{ prompt: "3", steps: 20 }, "steps", "`steps` is no field of this server; it knows prompt, model,"],
    [{ prompt: "3", mask: "x" }, "mask", "`mask` is no field"],
    [{ prompt: "3", zipar: 3 }, "zipar", "`zipar` is no JSON object"],
    [{ prompt: "3", zipar: { steps: 3 } }, "zipar.steps", "`zipar.steps` is no field"],
    [{ prompt: "3", zipar: { image: false } }, "zipar.image", "`zipar.image` is no field"],
    [{ prompt: "3", trace: "x" }, "trace", "`trace` is no field"],
    [{ prompt: "3", guidance_scale: "x" }, "guidance_scale", "`guidance_scale` ="],
    [{ prompt: "3", seed: -2 }, "seed", "`seed` = -2: expected a whole number from 0"],
    [{ prompt: "3", zipar: { top_p: 0 } }, "zipar.top_p", "`zipar.top_p` = 0"],
    [{ prompt: "3", seed: 1, zipar: { seed: 1 } }, "zipar.seed", "the same option"],
    [{ prompt: "3", top_k: 1, topK: 1 }, "topK", "the same option"],
    [{ prompt: "3", window: 7 }, null, "wider than the token grid; expected 1 to 6"],
  ])("%j", async (body, param, message) => {
    const before = stub.worker.batches.length;
    const refusal = await refusalOf(await stub.post(body));
    expect(refusal).toMatchObject({ param, type: "invalid_request_error" });
    expect(refusal.message).toContain(message);
    expect([400, 404]).toContain(refusal.status);
    expect(stub.worker.batches.length).toBe(before);
  });

  test("a prompt that is too long", async () => {
    const refusal = await refusalOf(await stub.post({ prompt: "x".repeat(32_001) }));
    expect(refusal).toMatchObject({ status: 400, param: "prompt" });
    expect(refusal.message).toContain("expected at most 32000 characters");
    expect(refusal.message.length).toBeLessThan(300);
  });

  test("a body that is no JSON object", async () => {
    for (const body of ["", "{", "[]", "null", '"cat"', "3"]) {
      const refusal = await refusalOf(await stub.post(undefined, { body }));
      expect([refusal.status, refusal.message]).toEqual([400, expect.stringMatching(/no JSON/)]);
    }
  });

  test("a body that is no JSON by its content type, which a page of anywhere may send", async () => {
    for (const type of [
      "text/plain",
      "application/x-www-form-urlencoded",
      "multipart/form-data; boundary=x",
    ]) {
      const response = await stub.post({ prompt: "3" }, { headers: { "content-type": type } });
      expect((await refusalOf(response)).status).toBe(415);
    }
  });

  test("a body that is too large, whether or not it says so", async () => {
    const body = JSON.stringify({ prompt: "x".repeat(2 ** 20) });
    expect((await stub.post(undefined, { body })).status).toBe(413);
    const stream = new Blob([body]).stream();
    expect((await stub.post(undefined, { body: stream, duplex: "half" } as RequestInit)).status).toBe(413);
  });

  test("routes and methods that it has not", async () => {
    expect(await refusalOf(await stub.post({}, {}, "/v1/images/edits"))).toMatchObject({
      status: 404,
      code: "not_found",
    });
    const response = await stub.fetch("/v1/images/generations");
    expect([response.status, response.headers.get("allow")]).toEqual([405, "POST"]);
  });
});

test("a size that is not known may be replaced by the nearest in shape, if the server is told so", async () => {
  await using nearest = await stubServer({ unknownSize: "nearest" });
  const reply = (await (await nearest.post({ prompt: "3", size: "1024x1024" })).json()) as Reply;
  expect(reply.zipar.size).toBe("48x32");
});

test("what fails within the server is told by its code, and in the log with all that it says", async () => {
  await using failing = await stubServer();
  failing.worker.beforeForward = () => {
    throw new Error("/home/secret/checkpoint.pt is broken");
  };
  const refusal = await refusalOf(await failing.post({ prompt: "3" }));
  expect(refusal).toMatchObject({ status: 500, type: "server_error", code: "internal" });
  expect(refusal.message).not.toContain("secret");
  expect(failing.log.join()).toContain("/home/secret/checkpoint.pt is broken");
});
