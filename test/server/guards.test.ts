import { describe, expect, test } from "vitest";
import { createServer } from "../../src/server/index.ts";
import { jsonPost } from "../support/json-post.ts";
import { refusalOf, stubServer } from "../support/stub-server.ts";

describe("the Host header", () => {
  test.each([
    "localhost",
    "localhost:7811",
    "LOCALHOST:7811",
    "zipar.localhost:1",
    "127.0.0.1:7811",
    "192.168.1.5",
    "[::1]:7811",
    "images.example.org",
    "images.example.org:8080",
    "public.example.org",
  ])("may be %s", async (host) => {
    await using stub = await stubServer({
      allowedHosts: ["Images.example.org"],
      publicUrl: "https://public.example.org/zipar",
    });
    expect((await stub.fetch("/v1/models", { headers: { host } })).status).toBe(200);
  });

  test.each([
    "evil.example",
    "evil.example:7811",
    "localhost.evil.example",
    "127.0.0.1.evil.example",
    "evil.localhost.example",
    "2130706433.example",
    "a b",
    "@",
    "evil.example@localhost",
  ])("may not be %s, whatever is asked for", async (host) => {
    await using stub = await stubServer();
    for (const path of ["/v1/models", "/healthz", "/images/x.png", "/metrics"])
      expect((await stub.fetch(path, { headers: { host } })).status).toBe(421);
    expect((await refusalOf(await stub.post({ prompt: "3" }, { headers: { host } }))).message).toContain(
      "--allowed-host",
    );
    expect(stub.worker.batches).toEqual([]);
  });

  test("may be anything for a program that looks after that itself", async () => {
    await using stub = await stubServer({ allowedHosts: "any" });
    expect((await stub.fetch("/v1/models", { headers: { host: "shop.example" } })).status).toBe(200);
  });
});

describe("pages of other origins", () => {
  test.each(["https://evil.example", "null", "http://localhost:3000", "https://localhost:7811.evil.example"])(
    "may not ask: %s",
    async (origin) => {
      await using stub = await stubServer({ corsOrigins: ["https://ui.example"] });
      const response = await stub.post({ prompt: "3" }, { headers: { origin } });
      expect(response.headers.get("access-control-allow-origin")).toBeNull();
      expect(await refusalOf(response)).toMatchObject({ status: 403, code: "unknown_origin" });
      expect(stub.worker.batches).toEqual([]);
    },
  );

  test("may, when they are named, and ask first", async () => {
    const origin = "https://ui.example";
    await using stub = await stubServer({ corsOrigins: [origin], apiKeys: ["secret"] });
    const asking = {
      origin,
      "access-control-request-method": "POST",
      "access-control-request-headers": "authorization,content-type",
    };
    const preflight = await stub.fetch("/v1/images/generations", { method: "OPTIONS", headers: asking });
    expect(preflight.status).toBe(204);
    expect(preflight.headers.get("access-control-allow-origin")).toBe(origin);
    expect(preflight.headers.get("access-control-allow-headers")).toContain("authorization");
    expect(preflight.headers.get("access-control-allow-credentials")).toBeNull();
    const response = await stub.post(
      { prompt: "3" },
      { headers: { origin, authorization: "Bearer secret" } },
    );
    expect([response.status, response.headers.get("access-control-allow-origin")]).toEqual([200, origin]);
    const refused = await stub.post({ prompt: "3" }, { headers: { origin } });
    expect([refused.status, refused.headers.get("access-control-allow-origin")]).toEqual([401, origin]);
  });

  test("are none where the page is the server's own", async () => {
    await using stub = await stubServer();
    const headers = { origin: "http://localhost:7811", host: "localhost:7811" };
    expect((await stub.post({ prompt: "3" }, { headers })).status).toBe(200);
  });

  test("can only be named as origins", () => {
    for (const origin of ["*", "ui.example", "https://ui.example/", "https://ui.example/path"])
      expect(() => createServer({}, { corsOrigins: [origin] })).toThrow(/expected an origin such as/);
  });
});

describe("keys", () => {
  const paths = ["/v1/models", "/metrics", "/v1/models/stub"];

  test.each([
    undefined,
    "Bearer wrong",
    "Bearer ",
    "secret",
    "Basic c2VjcmV0",
    "Bearer secret2",
    "Bearer secre",
  ])("keep out whoever says %s", async (authorization) => {
    await using stub = await stubServer({ apiKeys: ["secret", "other"] });
    const headers: Record<string, string> = authorization === undefined ? {} : { authorization };
    for (const path of paths) {
      const response = await stub.fetch(path, { headers });
      expect(response.headers.get("www-authenticate")).toBe("Bearer");
      expect(await refusalOf(response)).toMatchObject({ status: 401, code: "invalid_api_key" });
    }
    for (const path of ["/v1/images/generations", "/zipar/generations"])
      expect((await stub.fetch(path, jsonPost({ prompt: "3" }, { headers }))).status).toBe(401);
    expect(stub.worker.batches).toEqual([]);
    expect((await stub.fetch("/healthz")).status).toBe(200);
    expect((await stub.fetch("/readyz")).status).toBe(200);
    expect(stub.log.join()).not.toContain("secre");
  });

  test.each(["Bearer secret", "bearer  secret", "Bearer other"])(
    "let in whoever says %s",
    async (authorization) => {
      await using stub = await stubServer({ apiKeys: ["secret", "other"] });
      for (const path of paths)
        expect((await stub.fetch(path, { headers: { authorization } })).status).toBe(200);
    },
  );

  test("are not asked for where there are none, and any is taken", async () => {
    await using stub = await stubServer();
    for (const authorization of ["Bearer anything", "Bearer sk-1"])
      expect((await stub.post({ prompt: "3" }, { headers: { authorization } })).status).toBe(200);
  });
});

test("every reply forbids pages to run anything, to guess its type or to frame it, and sets no cookie", async () => {
  await using stub = await stubServer();
  const replies = [
    await stub.fetch("/healthz"),
    await stub.fetch("/nothing"),
    await stub.post({ prompt: "3" }),
    await stub.post({ prompt: "3", stream: true }),
    await stub.fetch("/healthz", { headers: { host: "evil.example" } }),
  ];
  for (const { headers } of replies) {
    expect(headers.get("content-security-policy")).toBe("default-src 'none'; frame-ancestors 'none'");
    expect(headers.get("x-content-type-options")).toBe("nosniff");
    expect(headers.get("set-cookie")).toBeNull();
    expect(headers.get("x-request-id")).toMatch(/^[\w-]{36}$/);
  }
});

test("the log has a line of JSON for each request and each image, without prompts", async () => {
  await using stub = await stubServer();
  await stub.post({ prompt: "3", seed: 4, window: 2, lookahead: 0 });
  await stub.post({ prompt: "a secret wish" });
  await stub.fetch("/no\nsuch?key=secret");
  const lines = stub.log.map((line) => JSON.parse(line));
  expect(lines).toMatchObject([
    {
      event: "image",
      model: "stub",
      outcome: "finished",
      seconds: expect.any(Number),
      seed: 4,
      forwards: 12,
    },
    {
      event: "request",
      id: expect.any(String),
      method: "POST",
      route: "/v1/images/generations",
      status: 200,
      ms: expect.any(Number),
    },
    { event: "request", route: "/v1/images/generations", status: 400 },
    { event: "request", status: 404 },
  ]);
  expect(stub.log.join()).not.toContain("secret");
});
