import { describe, expect, test } from "vitest";
import { largestImageCount } from "../../src/api/inspect-model.ts";
import { modelReport } from "../../src/cli/info.ts";
import { byteCount, describeModel } from "../../src/cli/model-text.ts";
import type { ModelDescription } from "../../src/decode/worker-source.ts";
import { estimateMemory, inspectModel, stubWorker } from "../../src/index.ts";
import type { ModelCard } from "../../src/protocol/messages.ts";
import { ziparErrorOf } from "../support/errors.ts";

const GIB = 2 ** 30;
const card: ModelCard = {
  family: "emu3",
  name: "Emu3-Gen",
  parameterCount: 8_490_000_000,
  codeCount: 32768,
  rowEnd: "token",
  grids: [
    { rows: 90, columns: 90, width: 720, height: 720 },
    { rows: 68, columns: 120, width: 960, height: 544 },
  ],
  conditioning: { type: "text", negativePrompt: "lowres, bad anatomy", maxPromptTokens: 1024 },
  branches: ["conditional", "unconditional"],
  defaults: { guidanceScale: 3, temperature: 1, topK: 2048, topP: 1, window: 7 },
  imageDecoder: { pixelsPerToken: 8 },
  kvBytesPerSlot: 131072,
};
const description: ModelDescription = {
  card,
  device: "cuda:0 NVIDIA H100",
  dtype: "bfloat16",
  weights: [
    { part: "transformer", bytes: 16 * GIB },
    { part: "image tokenizer", bytes: GIB },
  ],
  slotCount: 9214,
  cacheBytesPerImage: 2 * GIB,
  freeBytes: 23 * GIB,
};

describe("the memory estimate", () => {
  test("is the weights and a cache for each image, held against what is free", () => {
    expect(estimateMemory(description, 3)).toEqual({
      images: 3,
      weightBytes: 17 * GIB,
      cacheBytes: 6 * GIB,
      totalBytes: 23 * GIB,
      fits: true,
    });
    expect(estimateMemory(description, 4).fits).toBe(false);
    expect(largestImageCount(description)).toBe(3);
  });

  test("allows no image where the weights alone do not fit", () => {
    expect(largestImageCount({ ...description, freeBytes: 10 * GIB })).toBe(0);
  });

  test("says nothing where free memory is not known", () => {
    const unknown = { ...description, freeBytes: null };
    expect(estimateMemory(unknown, 1).fits).toBeNull();
    expect(largestImageCount(unknown)).toBeUndefined();
  });
});

describe("inspectModel", () => {
  test("describes what a worker would load, without loading it", async () => {
    const { card, slotCount } = await inspectModel({ worker: stubWorker({ rows: 4, columns: 6 }) });
    expect(card).toMatchObject({ family: "stub", grids: [{ rows: 4, columns: 6 }] });
    expect(slotCount).toBe(1 + 4 * 6);
  });

  test("refuses unknown options, and workers that cannot describe", async () => {
    const unknown = await ziparErrorOf(() => inspectModel({ modle: "demo" } as object));
    expect(unknown.message).toContain("modle");
    const { open } = stubWorker();
    const error = await ziparErrorOf(() => inspectModel({ worker: { open } }));
    expect(error.code).toBe("invalid-options");
    expect(error.message).toContain("cannot describe");
  });
});

describe("zipar info", () => {
  test("lays out what a checkpoint is, knows and needs", () => {
    expect(`${describeModel("BAAI/Emu3-Gen", description, [1, 4], 80)}\n`).toMatchInlineSnapshot(`
      "Emu3-Gen

      model            BAAI/Emu3-Gen
      family           emu3, 8.49 billion parameters
      made for         text prompts of up to 1024 tokens; negative prompt by default:
                       "lowres, bad anatomy"
      sizes            720x720 (1:1)   90 rows of 90 tokens, the default
                       960x544 (16:9)  68 rows of 120 tokens
      defaults         guidance 3, temperature 1, top-k 2048, top-p off, window 7
      tokens           32768 codes, a row-end token after each row; 8 x 8 pixels each
      weights          transformer 16 GiB, image tokenizer 1 GiB, 17 GiB in all
      K/V cache        128 KiB a slot, at most 9214 slots a branch
                       2 branches (conditional, unconditional), 2 GiB an image
      memory           on cuda:0 NVIDIA H100, bfloat16, 23 GiB free; 3 images at a time fit
                          1 image      19 GiB  fits
                          4 images     25 GiB  does not fit
      "
    `);
  });

  test("lists many sizes on lines of the terminal's width", () => {
    const grids = Array.from({ length: 40 }, (_, k) => ({
      rows: 20 + k,
      columns: 40,
      width: 640,
      height: 16 * (20 + k),
    }));
    const text = describeModel("x", { ...description, card: { ...card, grids } }, [1], 80);
    for (const { width, height } of grids) expect(text).toContain(`${width}x${height} (`);
    const lines = text.split("\n").filter((line) => line.includes("640x"));
    expect(lines.length).toBeLessThan(14);
    for (const line of lines) expect(line.length).toBeLessThanOrEqual(80);
  });

  test("says that a checkpoint came without an image tokenizer, and of classes their names", () => {
    const conditioning = { type: "class", classCount: 2, classNames: ["cat", "dog"] } as const;
    const classes = {
      ...card,
      imageDecoder: null,
      conditioning: { ...conditioning, classNames: ["cat", "dog"] },
    };
    const text = describeModel("x", { ...description, card: classes, freeBytes: null }, [1], 80);
    expect(text).toContain("0 cat, 1 dog");
    expect(text).toContain("no image tokenizer found");
    expect(text).toContain("free memory unknown");
  });

  test("gives the same as JSON, whose fields docs/models/README.md documents", () => {
    expect(modelReport("BAAI/Emu3-Gen", description, [1, 4])).toMatchObject({
      model: "BAAI/Emu3-Gen",
      family: "emu3",
      grids: [
        { width: 720, height: 720, ratio: "1:1", rows: 90, columns: 90 },
        { width: 960, height: 544, ratio: "16:9", rows: 68, columns: 120 },
      ],
      weightBytes: 17 * GIB,
      largestImageCount: 3,
      memory: [
        { images: 1, fits: true },
        { images: 4, fits: false },
      ],
    });
  });
});

test.each([
  [0, "0 bytes"],
  [1023, "1023 bytes"],
  [1536, "1.5 KiB"],
  [131072, "128 KiB"],
  [17.25 * GIB, "17.3 GiB"],
])("%d bytes are %s", (bytes, text) => {
  expect(byteCount(bytes)).toBe(text);
});
