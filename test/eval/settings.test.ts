import { describe, expect, test } from "vitest";
import type { WindowOption } from "../../src/api/window-name.ts";
import { readWindows } from "../../src/cli/read-values.ts";
import {
  isVariant,
  lookaheadSettings,
  plainSetting,
  settingName,
  variantSettings,
} from "../../src/eval/settings.ts";

const windows = readWindows("full,8,4,2,adaptive:1,adaptive:2,adaptive:4") as WindowOption[];

test("settings are named as on the command line", () => {
  const others = readWindows("guessed,guessed:4,guessed:4:0,guessed:4:1") as WindowOption[];
  const names = [...windows, "adaptive" as const, ...others].map((window) =>
    settingName(plainSetting(window)),
  );
  expect(names).toEqual([
    ...["full", "8", "4", "2", "adaptive:1", "adaptive:2", "adaptive:4", "adaptive"],
    ...["guessed", "guessed:4", "guessed:4", "guessed:4:1"],
  ]);
});

test("fixed windows are measured with lookahead too, and no others", () => {
  const others = readWindows("full,4,guessed:4,adaptive:2") as WindowOption[];
  const settings = others.flatMap((window) => lookaheadSettings(window, 32));
  expect(settings.map(settingName)).toEqual(["full, lookahead 32", "4, lookahead 32"]);
  expect(settings[1]?.options).toEqual({ window: 4, lookahead: 32 });
  expect(settings.some(({ variant }) => isVariant(variant))).toBe(false);
  expect(lookaheadSettings("full", 0)).toEqual([]);
});

describe("variants", () => {
  test("try surrogates at the smallest fixed window, and the middle adaptive one's order and test", () => {
    const settings = variantSettings(windows, "none");
    expect(settings.map(settingName)).toEqual([
      "2, surrogate above",
      "2, surrogate newest",
      "adaptive:2, sequential",
      "adaptive:2, coupled",
    ]);
    expect(settings.map(({ options }) => options)).toEqual([
      { window: 2, surrogate: "above" },
      { window: 2, surrogate: "newest" },
      { window: { kind: "adaptive", min: 2, verification: "sequential" } },
      { window: { kind: "adaptive", min: 2, test: "coupled" } },
    ]);
  });

  test("refresh row ends where there are any, instead of choosing surrogates that nobody feeds", () => {
    const [first] = variantSettings(windows, "token");
    expect(first?.options).toEqual({ window: 2, refreshRowEnds: true });
  });

  test("leave out what no window asks for", () => {
    expect(variantSettings(["full"], "none")).toEqual([]);
    expect(variantSettings(["adaptive"], "none").map(settingName)).toEqual([
      "adaptive, sequential",
      "adaptive, coupled",
    ]);
  });
});
