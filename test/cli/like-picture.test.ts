import { Command } from "commander";
import { describe, expect, test, vi } from "vitest";
import { likePicture, tellDifference } from "../../src/cli/like-picture.ts";
import { addOptions, type ValuesOf } from "../../src/cli/option.ts";
import { GENERATE } from "../../src/cli/options.ts";
import type { PictureSettings } from "../../src/picture/settings.ts";
import { VERSION } from "../../src/version.ts";
import { ziparErrorOf } from "../support/errors.ts";
import { pictureSettings } from "../support/picture-settings.ts";

/** What is made of a command line after `generate --like a.png`. */
function like(settings: PictureSettings, line: string, prompt?: string) {
  const command = addOptions(new Command(), GENERATE).exitOverride();
  const words = ["--like", "a.png", ...line.split(" ").filter(Boolean)];
  const values = command.parse(words, { from: "user" }).opts<ValuesOf<typeof GENERATE>>();
  const typed = Object.keys(values).filter((name) => command.getOptionValueSource(name) === "cli");
  return likePicture(settings, prompt, values, new Set(typed));
}

const sequential = { kind: "adaptive", min: 2, verification: "sequential", test: "coupled" } as const;

describe("a picture is made again with", () => {
  test("all that it says, and the command's own defaults for the rest", () => {
    const { negativePrompt, prompt, ...options } = pictureSettings().options;
    const { refreshRowEnds: _, ...rest } = options;
    const made = like({ ...pictureSettings(), weightsKey: "ema" }, "");
    expect(made.prompt).toBe(prompt);
    expect(made.options).toMatchObject({
      ...rest,
      negativePrompt,
      model: "owner/model@main",
      weightsKey: "ema",
      dtype: "float32",
      device: "auto",
      count: 1,
    });
  });

  test.each<[string, string | undefined, object, object]>([
    ["--seed 5", undefined, {}, { seed: 5, window: 4 }],
    ["--model demo --dtype auto", undefined, {}, { model: "demo", dtype: "auto" }],
    ["--size 1:1 --top-k 0 --lookahead 3", undefined, {}, { size: "1:1", topK: 0, lookahead: 3 }],
    ["--class 3", undefined, { classLabel: 9, prompt: undefined }, { class: 3 }],
    ["", undefined, { classLabel: 9, prompt: undefined }, { class: 9 }],
    [
      "",
      undefined,
      { window: sequential },
      { window: sequential, verification: "sequential", windowTest: "coupled" },
    ],
    [
      "--verification overlapped",
      undefined,
      { window: sequential },
      { verification: "overlapped", windowTest: "coupled" },
    ],
    ["--window adaptive:3", undefined, { window: sequential }, { window: { kind: "adaptive", min: 3 } }],
  ])("what is typed in its place: %s", (line, prompt, change, expected) => {
    const { options } = like(pictureSettings(change), line, prompt);
    expect(options).toMatchObject(expected);
    if (line.includes("--window")) expect(options.verification).toBeUndefined();
  });

  test("another prompt, or a class in the place of a prompt", () => {
    expect(like(pictureSettings(), "", "a cat").prompt).toBe("a cat");
    expect(like(pictureSettings(), "--class 3").prompt).toBeUndefined();
    const made = like(pictureSettings({ classLabel: 9, prompt: undefined }), "", "cat");
    expect([made.prompt, made.options.class]).toEqual(["cat", undefined]);
  });

  test("files that only its maker has once they are named", async () => {
    const settings = { ...pictureSettings(), model: { file: "c2i_B_256.pt" }, vq: { file: "vq.pt" } };
    const error = await ziparErrorOf(() => like(settings, ""));
    expect(error.code).toBe("invalid-options");
    expect(error.message).toContain('--model (there it was "c2i_B_256.pt") and --vq (there it was "vq.pt")');
    const { options } = like(settings, "--model a.pt --vq b.pt");
    expect([options.model, options.vq]).toEqual(["a.pt", "b.pt"]);
  });
});

describe("a difference from the one that made the picture", () => {
  const card = { name: "Model of the owner" };
  const told = (settings: object, engine: object) => {
    const write = vi.spyOn(process.stderr, "write").mockReturnValue(true);
    tellDifference({ ...pictureSettings(), zipar: VERSION, ...settings }, {
      card,
      dtype: "float32",
      device: "cpu",
      weights: "full",
      kvCache: "full",
      ...engine,
    } as Parameters<typeof tellDifference>[1]);
    return write.mock.calls.map(([text]) => text).join("");
  };

  test.each<[object, object, string]>([
    [{}, {}, ""],
    [{ device: "cuda:0 NVIDIA H100" }, { device: "cuda:3 NVIDIA H100" }, ""],
    [{ zipar: "0.0.9" }, {}, `made with zipar 0.0.9, this one is with zipar ${VERSION}`],
    [
      { dtype: "bfloat16", device: "cuda:0 NVIDIA H100" },
      {},
      "made with bfloat16, cuda NVIDIA H100, this one is with float32, cpu",
    ],
    [{ weights: "int8" }, { weights: "int8" }, ""],
    [{ weights: "int8" }, {}, "made with int8 weights, this one is with full weights"],
    [{}, { kvCache: "int8" }, "made with full K/V, this one is with int8 K/V"],
    [{}, { card: { name: "\x1b[31mOther" } }, "with Model of the owner, this one is with \\u001b[31mOther"],
  ])("is told: %j, %j", (settings, engine, text) => {
    if (text === "") expect(told(settings, engine)).toBe("");
    else expect(told(settings, engine)).toContain(text);
  });
});
