import { describe, expect, test } from "vitest";
import { checkInterpreter } from "../../../src/python/managed/interpreter.ts";

describe("an interpreter on PATH", () => {
  const describeSelf = (changed: object) =>
    JSON.stringify({
      path: "/python",
      version: [3, 12, 4],
      implementation: "cpython",
      wide: true,
      ...changed,
    });

  test("64-bit CPython 3.11 to 3.14 serves", () => {
    expect(checkInterpreter(describeSelf({}))).toEqual({
      interpreter: { path: "/python", version: "3.12.4" },
    });
    expect(checkInterpreter(describeSelf({ version: [3, 11, 0] }))).toHaveProperty("interpreter");
    expect(checkInterpreter(describeSelf({ version: [3, 14, 9] }))).toHaveProperty("interpreter");
  });

  test.each([
    [{ version: [3, 10, 13] }, "is 3.10.13, too old"],
    [{ version: [2, 7, 18] }, "is 2.7.18, too old"],
    [{ version: [3, 15, 0] }, "is 3.15.0, newer than PyTorch supports"],
    [{ implementation: "pypy" }, "is pypy, not CPython"],
    [{ wide: false }, "is a 32-bit build"],
  ])("%o is refused: %s", (changed, objection) => {
    expect(checkInterpreter(describeSelf(changed))).toEqual({ objection });
  });

  test("a stand-in that prints something else is refused", () => {
    expect(checkInterpreter("pyenv: python3: command not found")).toEqual({ objection: "does not run" });
  });
});
