import { expect, test } from "vitest";
import { harmless } from "../../src/protocol/harmless.ts";

test("what a terminal would obey is taken out of a stranger's text, and all else is kept", () => {
  expect(harmless("\u001b[2Jred\u0007\u202egpj.exe\u009b")).toBe("\ufffd[2Jred\ufffd\ufffdgpj.exe\ufffd");
  expect(harmless("one\r\ntwo\tthree\u2028four")).toBe("one two three\ufffdfour");
  expect(harmless("Straße 犬 👩‍🔬 नमस्‍ते")).toBe("Straße 犬 👩‍🔬 नमस्‍ते");
});
