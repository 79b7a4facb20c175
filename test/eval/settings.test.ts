import { describe, expect, test } from "vitest";
import type { WindowOption } from "../../src/api/window-name.ts";
import { readWindows } from "../../src/cli/read-values.ts";
import { plainSetting, settingName, variantSettings } from "../../src/eval/settings.ts";

const windows = readWindows("full,8,4,2,adaptive:1,adaptive:2,adaptive:4") as WindowOption[];

test("settings are named as on the command line", () => {
  const names = [...windows, "adaptive" as const].map((window) => settingName(plainSetting(window)));
  expect(names).toEqual(["full", "8", "4", "2", "adaptive:1", "adaptive:2", "adaptive:4", "adaptive"]);
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
