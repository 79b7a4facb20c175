import { expect, test } from "vitest";
import { loadSharp, loadZeromq, reasonAgainstSockets } from "../../src/system/native-modules.ts";

test("both native modules can be loaded here", () => {
  expect(typeof loadZeromq().Router).toBe("function");
  expect(typeof loadSharp()).toBe("function");
});

test.each([
  ["Node", { node: "20.11.0" }, true, undefined],
  ["Electron", { node: "22.1.0", electron: "40.0.0" }, true, undefined],
  ["Bun", { node: "24.3.0", bun: "1.3.14" }, true, /Bun .*run createEngine in Node/],
  ["Deno", { node: "24.2.0", deno: "2.5.0" }, true, /Deno .*run createEngine in Node/],
  ["a worker thread", { node: "20.11.0" }, false, /worker thread.*child_process.fork/],
] as const)("sockets in %s", (_, versions, isMain, reason) => {
  const found = reasonAgainstSockets(versions, isMain);
  if (reason === undefined) expect(found).toBeUndefined();
  else expect(found).toMatch(reason);
});
