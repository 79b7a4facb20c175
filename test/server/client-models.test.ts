import { describe, expect, test } from "vitest";
import { stubWorker, type WorkerSource } from "../../src/index.ts";
import type { ClientModel } from "../../src/server/client-card.ts";
import { createServer } from "../../src/server/index.ts";
import { jsonPost } from "../support/json-post.ts";
import { allEventsOf, refusalOf, STUB, stubServer } from "../support/stub-server.ts";

async function modelsOf(fetch: (path: string) => Promise<Response>): Promise<readonly ClientModel[]> {
  return ((await (await fetch("/zipar/models")).json()) as { models: readonly ClientModel[] }).models;
}

describe("GET /zipar/models", () => {
  test("tells what a request may say of each model, and what it is by default", async () => {
    await using stub = await stubServer();
    expect(await modelsOf((path) => stub.fetch(path))).toEqual([
      {
        name: "stub",
        state: "ready",
        progress: null,
        card: {
          family: "stub",
          name: "stub",
          device: stub.engine.device,
          dtype: stub.engine.dtype,
          conditioning: { type: "class", classCount: 1000, classNames: null },
          sizes: [{ rows: 4, columns: 6, width: 48, height: 32 }],
          rowEnd: "none",
          codeCount: 50,
          hasGuidance: true,
          hasPictures: true,
          defaults: { guidanceScale: 1, temperature: 1, topK: 0, topP: 1, window: 8, lookahead: "auto" },
        },
      },
    ]);
  });

  test("has no card of a model that is not loaded", async () => {
    await using server = createServer({ later: { worker: stubWorker(STUB) } }, { load: "demand" });
    const fetch = (path: string, init?: RequestInit) =>
      server.fetch(new Request(`http://localhost${path}`, init));
    expect(await modelsOf(fetch)).toEqual([
      { name: "later", state: "not-loaded", progress: null, card: null },
    ]);
    await (await fetch("/v1/images/generations", jsonPost({ prompt: "3" }))).arrayBuffer();
    expect(await modelsOf(fetch)).toMatchObject([
      { name: "later", state: "ready", card: { family: "stub" } },
    ]);
  });

  test.each(["/home/somebody/models/my.pt", "C:\\models\\my.pt"])(
    "does not tell where %s lies",
    async (name) => {
      const stub = stubWorker(STUB);
      const source: WorkerSource = {
        open: async (options) => {
          const worker = await stub.open(options);
          return Object.assign(worker, { card: { ...worker.card, name } });
        },
      };
      await using server = createServer({ mine: { worker: source } });
      await server.ready;
      const reply = await server.fetch(new Request("http://localhost/zipar/models"));
      const text = await reply.text();
      expect(text).toContain('"name":"my.pt"');
      expect(text).not.toContain("models/my");
      expect(text).not.toContain("models\\\\my");
    },
  );
});

describe("`metadata`", () => {
  const BODY = { prompt: "3", seed: 5, metadata: true };
  const textOf = (base64: string) => Buffer.from(base64, "base64").toString("latin1");

  test.each([
    ["png", 'zipar\0{"version":1'],
    ["jpeg", "zipar:settings"],
    ["webp", "zipar:settings"],
  ])("has a %s carry how it was made, where it is asked for", async (output_format, mark) => {
    await using stub = await stubServer();
    const pictureOf = async (body: object) =>
      ((await (await stub.post({ ...body, output_format })).json()) as { data: [{ b64_json: string }] })
        .data[0].b64_json;
    expect(textOf(await pictureOf(BODY))).toContain(mark);
    expect(textOf(await pictureOf({ ...BODY, metadata: false }))).not.toContain(mark);
    expect(textOf(await pictureOf({ prompt: "3" }))).not.toContain(mark);
  });

  test.each(["/v1/images/generations", "/zipar/generations"])(
    "holds for the last picture of %s",
    async (path) => {
      await using stub = await stubServer();
      const events = await allEventsOf(
        await stub.post({ ...BODY, stream: true, partial_images: 1 }, {}, path),
      );
      const pictures = events.flatMap(({ data }) =>
        data.b64_json === undefined ? [] : [textOf(data.b64_json)],
      );
      expect(pictures.map((text) => text.includes('zipar\0{"version":1'))).toEqual([false, true]);
    },
  );

  test("is refused where it could not be kept", async () => {
    await using stub = await stubServer();
    const body = { ...BODY, output_format: "jpeg", output_compression: 50 };
    expect(await refusalOf(await stub.post(body))).toMatchObject({ status: 400, param: "metadata" });
    expect(await refusalOf(await stub.post({ ...BODY, metadata: "yes" }))).toMatchObject({
      param: "metadata",
    });
  });
});
