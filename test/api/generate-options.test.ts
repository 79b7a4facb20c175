import { describe, expect, test } from "vitest";
import { resolveEngineOptions } from "../../src/api/engine-options.ts";
import { generateSchema, pixelSizeSchema, resolveGeneration } from "../../src/api/generate-options.ts";
import { createEngine, type GenerateOptions, plan, stubWorker } from "../../src/index.ts";
import { forwardSequenceSchema, MAX_INDEX, type ModelCard } from "../../src/protocol/messages.ts";
import { resolveRemote } from "../../src/worker/remote/options.ts";
import { ziparErrorOf } from "../support/errors.ts";

const CARD: ModelCard = {
  family: "llamagen",
  name: "a model",
  parameterCount: 1,
  codeCount: 100,
  rowEnd: "none",
  grids: [
    { rows: 16, columns: 24, width: 384, height: 256 },
    { rows: 8, columns: 8, width: 128, height: 128 },
  ],
  conditioning: { type: "class", classCount: 3, classNames: ["cat", "dog", "sailing boat"] },
  branches: ["conditional", "unconditional"],
  defaults: { guidanceScale: 4, temperature: 1, topK: 2000, topP: 1, window: 8 },
  imageDecoder: { pixelsPerToken: 16 },
  kvBytesPerSlot: 1,
};
const TEXT: ModelCard = {
  ...CARD,
  conditioning: { type: "text", negativePrompt: null, maxPromptTokens: 100 },
};

const resolve = (options: unknown, card: ModelCard = CARD) =>
  resolveGeneration(options as GenerateOptions, card, () => 77);

test("the model card fills in what is left out", () => {
  expect(resolve({ classLabel: 1 })).toMatchObject({
    conditioning: { type: "class", classIndex: 1 },
    grid: { rows: 16, columns: 24, rowEnd: "none" },
    window: { kind: "fixed", size: 8 },
    lookahead: "auto",
    sampling: { guidanceScale: 4, temperature: 1, topK: 2000, topP: 1 },
    seed: 77,
    image: true,
    guidanceInterval: [0, 1],
    partialImages: 0,
    refreshRowEnds: false,
    signal: undefined,
  });
});

test("what is given wins over the card", () => {
  const given = {
    classLabel: 0,
    guidanceScale: 1,
    temperature: 0,
    topK: 0,
    topP: 0.5,
    seed: 3,
    size: { width: 128, height: 128 },
  };
  expect(resolve(given)).toMatchObject({
    grid: { rows: 8, columns: 8 },
    sampling: { guidanceScale: 1, temperature: 0, topK: 0, topP: 0.5 },
    seed: 3,
  });
});

describe("an option that is undefined is as good as one that is left out", () => {
  const undefinedOptions = (names: string) =>
    Object.fromEntries(names.split(" ").map((name) => [name, undefined]));

  test("of generate", () => {
    const names =
      "prompt negativePrompt size window lookahead guidanceScale guidanceInterval temperature topK topP seed image " +
      "partialImages prefix refreshRowEnds surrogate trace signal";
    expect(resolve({ classLabel: 1, ...undefinedOptions(names) })).toEqual(resolve({ classLabel: 1 }));
  });

  test("of the adaptive window", () => {
    const window = { kind: "adaptive", ...undefinedOptions("min verification test") };
    expect(resolve({ classLabel: 1, window })).toEqual(resolve({ classLabel: 1, window: "adaptive" }));
  });

  test("of createEngine", () => {
    const names =
      "model vq textEncoder weightsKey size device dtype maxImages maxQueue startTimeoutMs heartbeatTimeoutMs hangTimeoutMs " +
      "firstHangTimeoutMs restarts worker logger onProgress signal";
    expect(resolveEngineOptions(undefinedOptions(names))).toEqual(resolveEngineOptions({}));
  });

  test("of a remote worker", () => {
    const listen = "tcp://127.0.0.1:0";
    const names = "keys clients token tokenFile insecurePlaintext waitTimeoutMs";
    expect(resolveRemote({ listen, ...undefinedOptions(names) })).toEqual(resolveRemote({ listen }));
  });
});

test("a size may be a ratio that a grid of the card comes near to", () => {
  expect(resolve({ classLabel: 0, size: "3:2" }).grid).toMatchObject({ rows: 16, columns: 24 });
  expect(resolve({ classLabel: 0, size: "1:1" }).grid).toMatchObject({ rows: 8, columns: 8 });
});

test("the card's window is narrowed to a narrower grid", () => {
  const narrow = { ...CARD, defaults: { ...CARD.defaults, window: 12 } };
  expect(resolve({ classLabel: 0, size: { width: 128, height: 128 } }, narrow).window).toEqual({
    kind: "fixed",
    size: 8,
  });
});

test("a model of one branch takes no guidance, and says why", async () => {
  const alone = { ...CARD, branches: ["conditional"], defaults: { ...CARD.defaults, guidanceScale: 1 } };
  expect(resolve({ classLabel: 0, guidanceScale: 1 }, alone).sampling.guidanceScale).toBe(1);
  const { code, message } = await ziparErrorOf(() => resolve({ classLabel: 0, guidanceScale: 4 }, alone));
  expect([code, message]).toEqual(["invalid-options", expect.stringContaining("`guidanceScale` = 4")]);
});

test("a class is meant by index, by name, or by a prompt that is its name", () => {
  for (const options of [{ classLabel: 2 }, { classLabel: "sailing boat" }, { prompt: "Sailing Boat " }]) {
    expect(resolve(options).conditioning).toEqual({ type: "class", classIndex: 2 });
  }
});

test.each([
  ["full", { kind: "fixed", size: 24 }],
  [1, { kind: "fixed", size: 1 }],
  [24, { kind: "fixed", size: 24 }],
  ["adaptive", { kind: "adaptive", min: 4, verification: "overlapped", test: "rejection" }],
  [
    { kind: "adaptive", min: 3 },
    { kind: "adaptive", min: 3, verification: "overlapped", test: "rejection" },
  ],
  [
    { kind: "adaptive", verification: "sequential", test: "coupled" },
    { kind: "adaptive", min: 4, verification: "sequential", test: "coupled" },
  ],
])("window %j is understood", (window, expected) => {
  expect(resolve({ classLabel: 0, window }).window).toEqual(expected);
});

describe("bad input is refused as invalid-options, with the option, what was expected and what was received", () => {
  test.each<[string, unknown, readonly (string | RegExp)[]]>([
    ["window 0", { classLabel: 0, window: 0 }, ["window", "0", "at least 1"]],
    ["window -1", { classLabel: 0, window: -1 }, ["window", "-1", "at least 1"]],
    ["window 1e9", { classLabel: 0, window: 1e9 }, ["window", "1000000000", "1 to 24"]],
    ["window 2.5", { classLabel: 0, window: 2.5 }, ["window", "2.5", "whole number"]],
    ["window NaN", { classLabel: 0, window: Number.NaN }, ["window", "NaN", "whole number"]],
    ["window abc", { classLabel: 0, window: "abc" }, ["window", '"abc"', "full", "adaptive"]],
    ["lookahead abc", { classLabel: 0, lookahead: "abc" }, ["lookahead", '"abc"', "0 to 1024", '"auto"']],
    ["lookahead -1", { classLabel: 0, lookahead: -1 }, ["lookahead", "-1", "0"]],
    [
      "an unknown kind of window",
      { classLabel: 0, window: { kind: "wide" } },
      ["window", "wide", "adaptive"],
    ],
    [
      "an adaptive minimum of 0",
      { classLabel: 0, window: { kind: "adaptive", min: 0 } },
      ["window", "min", "0"],
    ],
    [
      "an adaptive minimum above the grid",
      { classLabel: 0, window: { kind: "adaptive", min: 25 } },
      ["window", "25", "1 to 24"],
    ],
    ["a class out of range", { classLabel: 3 }, ["class", "3", "0 cat, 1 dog, 2 sailing boat"]],
    ["a negative class", { classLabel: -1 }, ["classLabel", "-1"]],
    ["a class that is no index", { classLabel: 0.5 }, ["classLabel", "0.5"]],
    ["an unknown class name", { classLabel: "cow" }, ["class", '"cow"', "0 cat"]],
    ["no class", {}, ["classLabel", "0 cat"]],
    ["prompt and class", { prompt: "cat", classLabel: 0 }, ["prompt", "classLabel", "not both"]],
    [
      "a negative prompt",
      { classLabel: 0, negativePrompt: "blurry" },
      ["negativePrompt", "class-conditional"],
    ],
    [
      "an unknown size",
      { classLabel: 0, size: { width: 100, height: 100 } },
      ["size", "100x100", "384x256 (3:2), 128x128 (1:1)"],
    ],
    ["an unknown ratio", { classLabel: 0, size: "16:9" }, ["16:9", "384x256 (3:2), 128x128 (1:1)"]],
    ["a size in words", { classLabel: 0, size: "large" }, ["size", '"large"', "16:9"]],
    ["a ratio of nothing", { classLabel: 0, size: "0:1" }, ["size", '"0:1"', "16:9"]],
    ["a size of nothing", { classLabel: 0, size: { width: 0, height: 64 } }, ["size", "0"]],
    ["an unknown key", { classLabel: 0, windw: 3 }, ["windw"]],
    ["temperature -1", { classLabel: 0, temperature: -1 }, ["temperature", "-1", "0"]],
    ["temperature as text", { classLabel: 0, temperature: "hot" }, ["temperature", '"hot"', "number"]],
    ["top-k 1.5", { classLabel: 0, topK: 1.5 }, ["topK", "1.5", "whole number"]],
    ["top-p 0", { classLabel: 0, topP: 0 }, ["topP", "0"]],
    ["top-p 1.1", { classLabel: 0, topP: 1.1 }, ["topP", "1.1", "1"]],
    [
      "a guidance interval of one share",
      { classLabel: 0, guidanceInterval: [0.5] },
      ["guidanceInterval", "0.5"],
    ],
    [
      "a guidance interval that ends first",
      { classLabel: 0, guidanceInterval: [0.5, 0.5] },
      ["guidanceInterval", "larger"],
    ],
    [
      "a guidance interval beyond 1",
      { classLabel: 0, guidanceInterval: [0, 1.5] },
      ["guidanceInterval", "1.5"],
    ],
    [
      "a guidance interval in words",
      { classLabel: 0, guidanceInterval: "late" },
      ["guidanceInterval", '"late"', "[0.2, 0.8]"],
    ],
    ["seed -1", { classLabel: 0, seed: -1 }, ["seed", "-1", "0 to", "none for a random one"]],
    ["seed 2^53", { classLabel: 0, seed: 2 ** 53 }, ["seed", "9007199254740992", "2^53 - 1"]],
    ["top-k 2^31", { classLabel: 0, topK: 2 ** 31 }, ["topK", "2147483648", "at most 2147483647"]],
    [
      "guidance infinity",
      { classLabel: 0, guidanceScale: Number.POSITIVE_INFINITY },
      ["guidanceScale", "Infinity"],
    ],
    ["a signal that is none", { classLabel: 0, signal: {} }, ["signal", "AbortSignal"]],
    ["65 previews", { classLabel: 0, partialImages: 65 }, ["partialImages", "65", "64"]],
  ])("%s", async (_, options, said) => {
    const error = await ziparErrorOf(() => resolve(options));
    expect(error.code).toBe("invalid-options");
    for (const part of said) expect(error.message).toMatch(part);
  });

  test("several problems are named in one message", async () => {
    const error = await ziparErrorOf(() => resolve({ classLabel: 0, window: 0, topP: 7 }));
    expect(error.message).toContain("window");
    expect(error.message).toContain("topP");
    expect(error.details.problems).toHaveLength(2);
  });

  test("a model for text takes a prompt and no class", async () => {
    expect(resolve({ prompt: "a lighthouse" }, TEXT).conditioning).toEqual({
      type: "text",
      prompt: "a lighthouse",
      negativePrompt: null,
    });
    expect((await ziparErrorOf(() => resolve({}, TEXT))).message).toContain("prompt");
    for (const prompt of ["", " \n"]) {
      const error = await ziparErrorOf(() => resolve({ prompt }, TEXT));
      expect(error.code).toBe("invalid-options");
      expect(error.message).toContain("needs a `prompt` that says something");
    }
    expect((await ziparErrorOf(() => resolve({ prompt: "x", classLabel: 1 }, TEXT))).message).toContain(
      "classLabel",
    );
  });

  test("a negative prompt is for models whose unconditional branch is made from words", async () => {
    const error = await ziparErrorOf(() => resolve({ prompt: "x", negativePrompt: "blurry" }, TEXT));
    expect(error.code).toBe("invalid-options");
    expect(error.message).toContain("takes no `negativePrompt`");
    const taking: ModelCard = {
      ...TEXT,
      conditioning: { type: "text", negativePrompt: "lowres", maxPromptTokens: 9 },
    };
    for (const negativePrompt of ["blurry", ""]) {
      expect(resolve({ prompt: "x", negativePrompt }, taking).conditioning).toMatchObject({ negativePrompt });
    }
    expect(resolve({ prompt: "x" }, taking).conditioning).toMatchObject({ negativePrompt: null });
  });

  test("a model without an image tokenizer makes tokens only", async () => {
    const blind = { ...CARD, imageDecoder: null };
    const error = await ziparErrorOf(() => resolve({ classLabel: 0 }, blind));
    expect(error.code).toBe("no-image-decoder");
    expect(error.message).toContain("--vq");
    expect(resolve({ classLabel: 0, image: false }, blind).image).toBe(false);
  });

  test.each<[string, unknown, readonly string[]]>([
    ["an unknown key", { modle: "demo" }, ["modle"]],
    ["an unknown device", { device: "tpu" }, ["device", "tpu", "cuda"]],
    ["an unknown dtype", { dtype: "int8" }, ["dtype", "int8", "bfloat16"]],
    ["no images", { maxImages: 0 }, ["maxImages", "0", "1"]],
    ["a logger that is none", { logger: {} }, ["logger"]],
    ["a worker that is none", { worker: {} }, ["worker"]],
    ["an empty model", { model: "" }, ["model"]],
  ])("of an engine: %s", async (_, options, said) => {
    const error = await ziparErrorOf(() => createEngine({ worker: stubWorker(), ...(options as object) }));
    expect(error.code).toBe("invalid-options");
    for (const part of said) expect(error.message).toContain(part);
  });

  test.each<[string, unknown, readonly string[]]>([
    ["window 0", { rows: 2, columns: 2, window: 0 }, ["window", "0"]],
    ["a window wider than the grid", { rows: 2, columns: 2, window: 3 }, ["window", "3", "1 to 2"]],
    ["no rows", { rows: 0, columns: 2, window: 1 }, ["rows", "0"]],
    ["a grid beyond the limit", { rows: 2, columns: 1025, window: 1 }, ["columns", "1025", "1024"]],
    ["an unknown row end", { rows: 2, columns: 2, window: 1, rowEnd: "dot" }, ["rowEnd", "dot", "token"]],
  ])("of a plan: %s", async (_, options, said) => {
    const error = await ziparErrorOf(() => plan(options as Parameters<typeof plan>[0]));
    expect(error.code).toBe("invalid-options");
    for (const part of said) expect(error.message).toContain(part);
  });

  test.each<[string, string, readonly string[]]>([
    [
      "of a million characters",
      "x".repeat(1_000_000),
      ["prompt", "at most 65536 characters", "(1000002 characters)"],
    ],
    ["with half a surrogate pair", "a \ud83d cat", ["prompt", "surrogate"]],
    ["of nothing", "", ["prompt", "says something"]],
    ["of blanks", " \u00a0\n\u3000", ["prompt", "says something"]],
  ])("of a prompt %s", async (_, prompt, said) => {
    const error = await ziparErrorOf(() => resolve({ prompt }, TEXT));
    expect(error.code).toBe("invalid-options");
    expect(error.message.length).toBeLessThan(400);
    for (const part of said) expect(error.message).toContain(part);
  });

  test.each(["😀👩‍👩‍👧‍👦", "مرحبا", "e\u0301", "\u202eright to left", "a\u0000b", "x".repeat(65_536)])(
    "none of them is a prompt of unusual text",
    (prompt) => {
      expect(resolve({ prompt }, TEXT).conditioning).toMatchObject({ prompt });
    },
  );

  test("of a stub: an unknown option", async () => {
    const error = await ziparErrorOf(() => stubWorker({ rows: 2, colums: 2 } as object));
    expect(error.code).toBe("invalid-options");
    expect(error.message).toContain("colums");
  });
});

test("sampling takes exactly the numbers that the wire carries", () => {
  const bounds = [0, 1, 1000, -1000, MAX_INDEX].flatMap((bound) => [
    bound - 1,
    bound,
    bound + 1,
    bound + 0.5,
  ]);
  for (const name of ["topK", "topP", "temperature", "guidanceScale"] as const) {
    for (const value of [...bounds, 2 ** 53, 1e9, Infinity, NaN]) {
      const isTaken = generateSchema.shape[name].safeParse(value).success;
      expect(isTaken, `${name} ${value}`).toBe(forwardSequenceSchema.shape[name].safeParse(value).success);
    }
  }
});

test("a size takes no more than the wire carries", () => {
  const sizeOf = (width: number) => pixelSizeSchema.safeParse({ width, height: 1 }).success;
  expect([sizeOf(MAX_INDEX), sizeOf(MAX_INDEX + 1)]).toEqual([true, false]);
});
