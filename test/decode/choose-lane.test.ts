import { expect, test } from "vitest";
import { chooseLane, type Offer } from "../../src/decode/choose-lane.ts";

function offer(imageCount: number, forwardMs?: number, hasRoom = true): Offer {
  return { hasRoom, imageCount, forwardMs };
}

test("the worker whose forwards will be shortest gets the next image, however many it holds", () => {
  expect(chooseLane([offer(0, 30), offer(3, 10), offer(1, 20)])).toBe(1);
});

test("of workers that are as fast within noise the one with the fewest images gets it, and of those the first", () => {
  expect(chooseLane([offer(2, 10), offer(1, 10.5), offer(1, 9.8)])).toBe(1);
  expect(chooseLane([offer(0), offer(0)])).toBe(0);
});

test("a worker that was never measured is tried", () => {
  expect(chooseLane([offer(1, 10), offer(0)])).toBe(1);
});

test("a worker without room gets nothing, and where none has room the image waits", () => {
  expect(chooseLane([offer(0, 1, false), offer(8, 50)])).toBe(1);
  expect(chooseLane([offer(0, 1, false), offer(0, 1, false)])).toBeUndefined();
  expect(chooseLane([])).toBeUndefined();
});
