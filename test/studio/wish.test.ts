import { describe, expect, test } from "vitest";
import { KNOBS } from "../../src/server/image-fields.ts";
import { parseImageRequest } from "../../src/server/image-request.ts";
import type { ClientModel } from "../../src/studio/events.ts";
import { bodiesOf, comparedWith, defaultWish, problemOf, type Wish, wishOf } from "../../src/studio/wish.ts";
import { durationWords, fileNameOf, rateWords } from "../../src/studio/words.ts";

const LIMITS = { maxPromptCharacters: 32_000, maxPartialImages: 64, knobNames: KNOBS };
const seven = () => 7;

function model(card: object = {}): ClientModel {
  return {
    name: "emu",
    state: "ready",
    progress: null,
    card: {
      family: "emu3",
      name: "Emu3-Gen",
      device: "cpu",
      dtype: "float32",
      conditioning: { type: "text", negativePrompt: "lowres", maxPromptTokens: 100 },
      sizes: [
        { rows: 90, columns: 90, width: 720, height: 720 },
        { rows: 68, columns: 120, width: 960, height: 544 },
      ],
      rowEnd: "token",
      codeCount: 32768,
      hasGuidance: true,
      hasPictures: true,
      defaults: { guidanceScale: 3, temperature: 1, topK: 2048, topP: 1, window: 7, lookahead: "auto" },
      ...card,
    },
  };
}
const CLASSES = model({
  conditioning: { type: "class", classCount: 10, classNames: null },
  hasGuidance: false,
});

function wish(change: Partial<Wish> = {}, of = model()): Wish {
  return { ...defaultWish(of), prompt: "a cat", ...change };
}

describe("the form", () => {
  test("begins with what the card says", () => {
    expect(defaultWish(model())).toMatchObject({
      size: "720x720",
      guidanceScale: "3",
      topK: "2048",
      negativePrompt: "lowres",
      lookahead: "",
    });
    expect(defaultWish({ ...model(), card: null })).toMatchObject({
      size: "",
      guidanceScale: "",
      negativePrompt: "",
    });
  });

  test.each([
    {},
    { window: "full" },
    { window: "guessed" },
    { window: "guessed", windowSize: "4" },
    { window: "adaptive", windowSize: "2" },
    { window: "fixed", windowSize: "8" },
    {
      size: "960x544",
      seed: "12",
      lookahead: "0",
      temperature: "0.5",
      topP: "0.9",
      negativePrompt: "blurry",
    },
  ] as const)("asks for %o in a way that the server takes, and can be filled from it again", (change) => {
    const asked = wish({ seed: "3", ...change });
    expect(problemOf(asked, model().card)).toBeUndefined();
    const [body] = bodiesOf(asked, model().card, seven);
    expect(() => parseImageRequest(body, LIMITS)).not.toThrow();
    expect(wishOf(body ?? {}, model())).toEqual(asked);
  });

  test("asks for several with seeds that follow each other", () => {
    expect(bodiesOf(wish({ count: "3" }), model().card, seven).map(({ seed }) => seed)).toEqual([7, 8, 9]);
    expect(bodiesOf(wish({ count: "2", seed: "0" }), model().card, seven).map(({ seed }) => seed)).toEqual([
      0, 1,
    ]);
  });

  test("asks only for what the model knows", () => {
    const [body] = bodiesOf(wish({ prompt: " 3 ", negativePrompt: "x" }, CLASSES), CLASSES.card, seven);
    expect(body).toMatchObject({ prompt: "3" });
    expect(body).not.toHaveProperty("negative_prompt");
    expect(body).not.toHaveProperty("guidance_scale");
    const unloaded = bodiesOf(wish({}, { ...model(), card: null }), null, seven);
    expect(Object.keys(unloaded[0] ?? {}).sort()).toEqual([
      "metadata",
      "model",
      "partial_images",
      "prompt",
      "seed",
    ]);
  });

  test.each([
    [{ prompt: " " }, "prompt"],
    [{ window: "fixed" }, "windowSize"],
    [{ window: "fixed", windowSize: "0" }, "windowSize"],
    [{ window: "guessed", windowSize: "91" }, "windowSize"],
    [{ window: "guessed", windowSize: "2.5" }, "windowSize"],
    [{ lookahead: "-1" }, "lookahead"],
    [{ guidanceScale: "much" }, "guidanceScale"],
    [{ temperature: "-1" }, "temperature"],
    [{ topK: "1.5" }, "topK"],
    [{ topP: "0" }, "topP"],
    [{ topP: " " }, "topP"],
    [{ seed: "9007199254740992" }, "seed"],
    [{ seed: "9007199254740991", count: "4" }, "seed"],
    [{ seed: "1e3" }, "seed"],
    [{ count: "5" }, "count"],
  ] as const)("tells that %o is wrong beside its field", (change, field) => {
    expect(problemOf(wish(change), model().card)?.field).toBe(field);
  });

  test("passes over a window's size where the window has none", () => {
    expect(problemOf(wish({ window: "full", windowSize: "1000" }), model().card)).toBeUndefined();
  });
});

test("what is compared differs in its window or its seed, and in nothing else", () => {
  const [body = {}] = bodiesOf(wish({ window: "guessed", seed: "3" }), model().card, seven);
  expect(comparedWith(body, "full", seven)).toEqual({ ...body, window: "full" });
  expect(comparedWith(body, "4", seven)).toEqual({ ...body, window: 4 });
  expect(comparedWith(body, "seed", seven)).toEqual({ ...body, seed: 7 });
  const { window: _, ...own } = body;
  expect(comparedWith(body, "model", seven)).toEqual(own);
});

test("times and rates are told in few digits", () => {
  expect([300, 4400, 59_600, 61_000, 178_000, 3_600_000].map(durationWords)).toEqual([
    "1 s",
    "4 s",
    "1 min",
    "1 min",
    "3 min",
    "60 min",
  ]);
  expect([0.125, 1.26, 47.4].map(rateWords)).toEqual(["0.13", "1.3", "47"]);
});

test("files are named by what they show", () => {
  expect(fileNameOf("A cat, in space!", 7)).toBe("a-cat-in-space-7.png");
  expect(fileNameOf("../../etc/passwd", 1)).toBe("etc-passwd-1.png");
  expect(fileNameOf("灯台", undefined)).toBe("灯台.png");
  expect(fileNameOf("…", 2)).toBe("picture-2.png");
});
