import { expect, test } from "vitest";
import { reasonOf, withDetails, ZiparError } from "../src/errors.ts";

test("an error with more details is the same one otherwise", () => {
  const cause = new Error("struck by lightning");
  const error = new ZiparError({ code: "worker-died", message: "gone", details: { pid: 3 }, cause });
  const more = withDetails(error, { output: "last words" });
  expect(more).toMatchObject({ code: "worker-died", message: "gone", cause });
  expect(more.details).toEqual({ pid: 3, output: "last words" });
});

test("whatever is thrown gives a reason", () => {
  expect(reasonOf(new Error("no space left"))).toBe("no space left");
  expect(reasonOf("out of luck")).toBe("out of luck");
  expect(reasonOf(undefined)).toBe("undefined");
});
