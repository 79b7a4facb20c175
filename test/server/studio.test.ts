import { beforeAll, describe, expect, test } from "vitest";
import { readStudioFiles } from "../../src/server/studio-files.ts";
import { buildIfStale } from "../support/build.ts";
import { refusalOf, stubServer } from "../support/stub-server.ts";

const POLICY =
  "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self' blob:; connect-src 'self'; " +
  "base-uri 'none'; form-action 'none'; frame-ancestors 'none'; require-trusted-types-for 'script'";
/** What a browser loads of the page, not compressed. */
const LARGEST_PAGE_BYTES = 120_000;

beforeAll(buildIfStale);

describe("the studio", () => {
  test("is a page whose every link leads to a file of this server, of the right type", async () => {
    await using stub = await stubServer({ studio: true });
    const types: Record<string, string> = {};
    let byteCount = 0;
    const follow = async (path: string) => {
      if (path in types) return;
      const response = await stub.fetch(path);
      const text = await response.text();
      byteCount += Buffer.byteLength(text);
      types[path] = response.headers.get("content-type") ?? "";
      expect([path, response.status]).toEqual([path, 200]);
      expect(response.headers.get("content-security-policy")).toBe(POLICY);
      expect(response.headers.get("x-content-type-options")).toBe("nosniff");
      const links = text.matchAll(/(?:^import .*|^\} |^export .*)from "(\.[^"]+)"|(?:href|src)="([^"#]+)"/gm);
      for (const [, module, link] of links)
        await follow(new URL(module ?? link ?? "", `http://localhost${path}`).pathname);
    };
    await follow("/");
    expect(types).toMatchObject({
      "/": "text/html; charset=utf-8",
      "/studio/studio.css": "text/css; charset=utf-8",
      "/studio/icon.svg": "image/svg+xml",
      "/studio/modules/studio/page/main.js": "text/javascript; charset=utf-8",
      "/studio/modules/studio/decoding.js": "text/javascript; charset=utf-8",
      "/studio/modules/schedule/grid.js": "text/javascript; charset=utf-8",
      "/studio/modules/server/generation-events.js": "text/javascript; charset=utf-8",
    });
    expect(byteCount).toBeLessThan(LARGEST_PAGE_BYTES);
    expect(stub.worker.batches).toEqual([]);
  });

  test("holds no inline script or style, and nothing of other origins", () => {
    for (const [path, { data, contentType }] of readStudioFiles()) {
      const text = new TextDecoder().decode(data);
      if (contentType.startsWith("text/html")) {
        expect(text).not.toMatch(/ style=| on[a-z]+=|<style|javascript:/i);
        for (const [tag] of text.matchAll(/<script[^>]*>[^<]*/g))
          expect(tag).toMatch(/^<script [^>]*src="[^"]+">$/);
      }
      const addresses = Array.from(text.matchAll(/https?:\/\/[^\s"')]+/g), ([address]) => address);
      expect([path, addresses.filter((address) => address !== "http://www.w3.org/2000/svg")]).toEqual([
        path,
        [],
      ]);
      expect(text).not.toMatch(/innerHTML|insertAdjacentHTML|document\.write|\beval\(/);
    }
  });

  test("is not sent again to whoever has it", async () => {
    await using stub = await stubServer({ studio: true });
    for (const path of ["/", "/studio/studio.css", "/studio/modules/studio/page/main.js"]) {
      const first = await stub.fetch(path);
      const etag = first.headers.get("etag") ?? "";
      expect(first.headers.get("cache-control")).toBe("no-cache");
      for (const known of [etag, `W/${etag}`, `"other", ${etag}`, "*"]) {
        const again = await stub.fetch(path, { headers: { "if-none-match": known } });
        expect([again.status, await again.text(), again.headers.get("etag")]).toEqual([304, "", etag]);
      }
      expect((await stub.fetch(path, { headers: { "if-none-match": '"other"' } })).status).toBe(200);
      const head = await stub.fetch(path, { method: "HEAD" });
      expect([head.status, await head.text(), head.headers.get("etag")]).toEqual([200, "", etag]);
    }
  });

  test.each([
    "/studio",
    "/studio/",
    "/studio/index.html",
    "/studio/nothing.js",
    "/studio/../package.json",
    "/studio/..%2f..%2fpackage.json",
    "/studio/modules/../../package.json",
    "/studio/modules/errors.js",
    "/studio/modules/cli/main.js",
    "/studio/modules/studio/page/main.js.map",
  ])("has nothing at %s", async (path) => {
    await using stub = await stubServer({ studio: true });
    expect((await stub.fetch(path)).status).toBe(404);
  });

  test("asks for no key and takes no other method", async () => {
    await using stub = await stubServer({ studio: true, apiKeys: ["secret"] });
    expect((await stub.fetch("/")).status).toBe(200);
    expect((await stub.fetch("/studio/studio.css")).status).toBe(200);
    expect((await stub.fetch("/zipar/models")).status).toBe(401);
    const post = await stub.fetch("/", { method: "POST" });
    expect([post.status, post.headers.get("allow")]).toEqual([405, "GET, HEAD"]);
    expect((await stub.fetch("/", { headers: { host: "evil.example" } })).status).toBe(421);
  });

  test("is left out by a server that did not ask for it", async () => {
    await using stub = await stubServer();
    for (const path of ["/", "/studio/studio.css"]) {
      const response = await stub.fetch(path);
      expect(response.headers.get("content-security-policy")).toBe(
        "default-src 'none'; frame-ancestors 'none'",
      );
      expect(await refusalOf(response)).toMatchObject({ status: 404, code: "not_found" });
    }
  });
});
