import { tmpdir } from "node:os";
import { describe, expect, test } from "vitest";
import type { Machine } from "../../../src/python/location.ts";
import { isRecentUv, uvCacheVariables } from "../../../src/python/managed/uv.ts";
import { parsePipConfig, pipVariables, uvSettingsFromPip } from "../../../src/python/managed/uv-settings.ts";

const input = { variables: {}, uvHasConfigFile: false, folderExists: () => true };

test("pip's settings are read, the environment's over the files'", () => {
  const printed = [
    "global.cert='/etc/cert.pem'",
    "global.index-url='https://one.test/simple'",
    "install.find-links='/wheels'",
    ":env:.index-url='https://two.test/simple'",
    "freeze.index-url='https://three.test/simple'",
  ].join("\n");
  expect(parsePipConfig(printed)).toEqual({
    cert: "/etc/cert.pem",
    "index-url": "https://two.test/simple",
    "find-links": "/wheels",
  });
});

test("pip's variables are read by pip's names", () => {
  const variables = { PIP_INDEX_URL: "https://one.test/simple", PIP_NO_INDEX: "", PATH: "/bin" };
  expect(pipVariables(variables)).toEqual({ "index-url": "https://one.test/simple" });
});

describe("handing pip's settings to uv", () => {
  test("indexes, wheels and certificate go over", () => {
    const pip = {
      "index-url": "https://one.test/simple",
      "extra-index-url": "https://two.test/a https://two.test/b",
      "find-links": "/wheels /more",
      cert: "/cert.pem",
      "no-index": "true",
    };
    expect(uvSettingsFromPip({ ...input, pip })).toEqual({
      variables: {
        SSL_CERT_FILE: "/cert.pem",
        UV_DEFAULT_INDEX: "https://one.test/simple",
        UV_INDEX: "https://two.test/a https://two.test/b",
        UV_FIND_LINKS: "/wheels,/more",
      },
      parameters: ["--no-index"],
    });
  });

  test("the proxy, the client's certificate and the patience go over, also where uv has indexes of its own", () => {
    const pip = { proxy: "proxy.test:3128", "client-cert": "/client.pem", timeout: "60" };
    expect(uvSettingsFromPip({ ...input, pip, uvHasConfigFile: true }).variables).toEqual({
      HTTPS_PROXY: "http://proxy.test:3128",
      HTTP_PROXY: "http://proxy.test:3128",
      SSL_CLIENT_CERT: "/client.pem",
      UV_HTTP_TIMEOUT: "60",
    });
    expect(pipVariables({ PIP_PROXY: "http://proxy.test" })).toEqual({ proxy: "http://proxy.test" });
  });

  test.each(["HTTPS_PROXY", "https_proxy", "ALL_PROXY", "http_proxy"])(
    "not the proxy where there is %s",
    (name) => {
      const pip = { proxy: "http://proxy.test" };
      const variables = { [name]: "http://mine.test" };
      expect(uvSettingsFromPip({ ...input, pip, variables }).variables).toEqual({});
    },
  );

  test("uv's own indexes come first, in its variables or its files", () => {
    const pip = { "index-url": "https://one.test/simple" };
    const variables = { UV_INDEX_URL: "https://mine.test/simple" };
    expect(uvSettingsFromPip({ ...input, pip, variables }).variables).toEqual({});
    expect(uvSettingsFromPip({ ...input, pip, uvHasConfigFile: true }).variables).toEqual({});
  });

  test("a folder of wheels that is not there is left out, which pip forgives and uv does not", () => {
    const pip = { "find-links": "/missing https://links.test" };
    expect(uvSettingsFromPip({ ...input, pip, folderExists: () => false }).variables).toEqual({
      UV_FIND_LINKS: "https://links.test",
    });
  });

  test("nothing set, nothing handed over", () => {
    expect(uvSettingsFromPip({ ...input, pip: {} })).toEqual({ variables: {}, parameters: [] });
  });
});

test("uv makes do without its cache where there is no place for one", () => {
  const machine: Machine = { platform: "linux", home: undefined, variables: {} };
  expect(uvCacheVariables(machine)).toEqual({ UV_NO_CACHE: "1" });
  expect(uvCacheVariables({ ...machine, home: process.execPath })).toEqual({ UV_NO_CACHE: "1" });
  expect(uvCacheVariables({ ...machine, home: tmpdir() })).toEqual({});
  expect(uvCacheVariables({ ...machine, variables: { UV_CACHE_DIR: "/mine" } })).toEqual({});
});

test("a uv that is too old or no uv at all is not used", () => {
  expect(isRecentUv("uv 0.13.9 (x86_64-unknown-linux-gnu)")).toBe(true);
  expect(isRecentUv("uv 1.0.0")).toBe(true);
  expect(isRecentUv("uv 0.7.0")).toBe(true);
  expect(isRecentUv("uv 0.6.17 (abc 2025-04-25)")).toBe(false);
  expect(isRecentUv("something else")).toBe(false);
});
