import { expect, test } from "vitest";
import { resolveClass } from "../../src/api/resolve-class.ts";
import { ziparErrorOf } from "../support/errors.ts";

const classNames = [
  "Golden Retriever",
  "chihuahua",
  "Chihuahua",
  "Straße",
  "caf\u00e9",
  "crane",
  "crane",
  "7",
];
const named = { classCount: classNames.length, classNames };
const resolve = (label: number | string) => resolveClass(label, "a model", named);

test.each([
  ["Golden Retriever", 0],
  ["golden retriever", 0],
  ["  GOLDEN  RETRIEVER ", 0],
  ["chihuahua", 1],
  ["Chihuahua", 2],
  ["STRASSE", 3],
  ["Cafe\u0301", 4],
  ["7", 7],
  ["3", 3],
  [5, 5],
])("%j means a class by its exact name, else by a name that is alike, else by its index", (label, index) => {
  expect(resolve(label)).toBe(index);
});

test("where several classes are called so, they are listed", async () => {
  for (const [label, listed] of [
    ["CHIHUAHUA", "1 chihuahua, 2 Chihuahua"],
    ["crane", "5 crane, 6 crane"],
  ] as const) {
    const { code, message } = await ziparErrorOf(() => resolve(label));
    expect(code).toBe("invalid-options");
    expect(message).toContain(`2 classes called "${label}": ${listed}; give the index of one`);
  }
});

test("without names a number is an index, and anything else is pointed to one", async () => {
  const unnamed = { classCount: 1000, classNames: null };
  expect(resolveClass("207", "a model", unnamed)).toBe(207);
  for (const label of ["golden retriever", "1000", "-1", "1e2", ""]) {
    const { message } = await ziparErrorOf(() => resolveClass(label, "a model", unnamed));
    expect(message).toContain("expected a class from 0 to 999");
    expect(message).toContain("--class");
  }
});

test("a message lists no thousand names", async () => {
  const many = Array.from({ length: 1000 }, (_, k) => `name ${k}`);
  const { message } = await ziparErrorOf(() =>
    resolveClass("otter", "a model", { classCount: 1000, classNames: many }),
  );
  expect(message).toContain("39 name 39 and 960 more, which `zipar info` lists");
});
