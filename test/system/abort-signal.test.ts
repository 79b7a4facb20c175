import { getEventListeners } from "node:events";
import { runInNewContext } from "node:vm";
import { expect, test } from "vitest";
import { isAbortSignal, onAbort } from "../../src/system/abort-signal.ts";

const abort = () => getEventListeners(controller.signal, "abort").length;
let controller = new AbortController();

test("many wait for a signal with one listener, and none is left when none waits", () => {
  controller = new AbortController();
  let told = 0;
  const takeOff = Array.from({ length: 40 }, () => onAbort(controller.signal, () => told++));
  expect(abort()).toBe(1);
  for (const off of takeOff.slice(0, 39)) off();
  expect(abort()).toBe(1);
  takeOff[39]?.();
  takeOff[39]?.();
  expect(abort()).toBe(0);
  onAbort(controller.signal, () => told++);
  controller.abort();
  expect(told).toBe(1);
});

test("whoever waits for an aborted signal is told at once, and is not kept", () => {
  controller = new AbortController();
  controller.abort();
  let told = 0;
  onAbort(controller.signal, () => told++)();
  expect([told, abort()]).toEqual([1, 0]);
});

test("a listener that is taken off while others are told is not told", () => {
  controller = new AbortController();
  const told: string[] = [];
  let off = () => {};
  onAbort(controller.signal, () => {
    told.push("first");
    off();
  });
  off = onAbort(controller.signal, () => told.push("second"));
  controller.abort();
  expect(told).toEqual(["first"]);
});

test.each([
  [new AbortController().signal, true],
  [AbortSignal.abort(), true],
  [runInNewContext("({ aborted: false, addEventListener() {}, removeEventListener() {} })"), true],
  [new AbortController(), false],
  [{ aborted: false }, false],
  [new EventTarget(), false],
  ["signal", false],
  [null, false],
])("what serves as a signal is told by what it can do: %o", (value, expected) => {
  expect(isAbortSignal(value)).toBe(expected);
});
