import { mkdirSync, mkdtempSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { afterAll, beforeAll, describe, expect, test } from "vitest";
import { createEngine } from "../../src/api/engine.ts";
import type { GenerateOptions } from "../../src/api/generate-options.ts";
import { resolveGeneration } from "../../src/api/generate-options.ts";
import { describePicture } from "../../src/picture/describe.ts";
import { type PictureTokens, packTokens, unpackTokens } from "../../src/picture/picture-tokens.ts";
import { decodeSettings, encodeSettings } from "../../src/picture/settings.ts";
import type { ModelCard } from "../../src/protocol/messages.ts";
import { stubCard } from "../../src/stub/card.ts";
import { stubWorker } from "../../src/stub/source.ts";
import { pictureSettings } from "../support/picture-settings.ts";

const CARD: ModelCard = {
  ...stubCard({ rows: 4, columns: 6, rowEnd: "none", codeCount: 16 } as Parameters<typeof stubCard>[0]),
  family: "llamagen",
  name: "a model",
};

function describeWith(maker: object, card: Partial<ModelCard> = {}, options: GenerateOptions = {}) {
  const full = { ...CARD, ...card };
  const request = resolveGeneration({ classLabel: 1, seed: 3, window: 2, ...options }, full, () => 0);
  return describePicture(
    {
      model: "demo",
      card: full,
      device: "cpu",
      dtype: "float32",
      weights: "full",
      kvCache: "full",
      ...maker,
    },
    request,
    { forwardCount: 9, tokens: new Int32Array(24), codeCount: 16 },
  );
}

describe("a model is named", () => {
  let folder: string;
  beforeAll(() => {
    folder = mkdtempSync(join(tmpdir(), "zipar-secret-place-"));
    mkdirSync(join(folder, "owner", "name"), { recursive: true });
    writeFileSync(join(folder, "c2i_B_256.pt"), "");
  });
  afterAll(() => rmSync(folder, { recursive: true }));

  test.each([
    ["demo", { reference: "demo" }],
    ["BAAI/Emu3-Gen", { reference: "BAAI/Emu3-Gen" }],
    ["FoundationVision/LlamaGen/c2i_B_256.pt@v1", { reference: "FoundationVision/LlamaGen/c2i_B_256.pt@v1" }],
    [".", { file: process.cwd().split("/").at(-1) }],
    ["../", { file: process.cwd().split("/").at(-2) }],
    ["/", { file: "/" }],
    ["~/models/a.pt", { file: "a.pt" }],
    ["C:\\Users\\Anna Example\\a.pt", { file: "a.pt" }],
    ["/home/anna/\x1b[31mred.pt", { file: "[31mred.pt" }],
    [`owner/name@${"r".repeat(600)}`, { file: expect.stringMatching(/^name@r{251}$/) }],
  ])("%j as everybody may know it", (model, part) => {
    expect(describeWith({ model }).model).toEqual(part);
  });

  test("by its last name alone where it lies on this machine, as its other parts are", () => {
    const vq = join(folder, "c2i_B_256.pt");
    const textEncoder = join(folder, "owner", "name");
    const settings = describeWith(
      { model: textEncoder, vq, textEncoder, weightsKey: "ema\n" },
      {
        name: vq,
        conditioning: { type: "class", classCount: 2, classNames: ["a", `\x1b[2J\u202e${"x".repeat(999)}`] },
      },
    );
    expect(settings).toMatchObject({
      model: { file: "name" },
      vq: { file: "c2i_B_256.pt" },
      textEncoder: { file: "name" },
      weightsKey: "ema",
      card: { name: "c2i_B_256.pt", className: expect.stringMatching(/^\[2J x+$/) },
    });
    const json = encodeSettings(settings);
    expect(json).not.toContain("secret-place");
    expect(decodeSettings(json, "a.png")).toEqual(settings);
  });
});

describe("the settings of a result", () => {
  test.each<GenerateOptions>([
    { window: "full" },
    { window: 3, lookahead: 0, refreshRowEnds: true },
    { window: "guessed", temperature: 0 },
    { window: { kind: "guessed", size: 2, unchanged: 1 }, topK: 5, topP: 0.9 },
    { window: "adaptive", guidanceScale: 2, guidanceInterval: [0.25, 1] },
    { window: { kind: "adaptive", min: 2, verification: "sequential", test: "coupled" }, surrogate: "above" },
    {
      window: 2,
      prefix: {
        tokens: [
          [1, 2, 3, 4, 5, 6, 7],
          [7, 6, 5, 4, 3, 2, 1],
        ],
      },
    },
  ])("make it again: %j", async (options) => {
    await using engine = await createEngine({ worker: stubWorker({ rows: 5, columns: 7, rowEnd: "none" }) });
    const first = await engine.generate({ classLabel: 4, ...options });
    const again = await engine.generate(decodeSettings(encodeSettings(first.settings), "a.png").options);
    expect(again.tokens).toEqual(first.tokens);
    expect(again.settings.options).toEqual(first.settings.options);
    expect(again.settings.tokens).toEqual(first.settings.tokens);
    expect(unpackTokens(first.settings.tokens as PictureTokens)).toEqual(first.tokens);
    expect(first.settings).toMatchObject({ model: { file: "stub" }, forwards: first.stats.forwards });
    expect(await first.image.encode("png", { metadata: true })).not.toEqual(await first.image.encode("png"));
  });
});

describe("tokens are packed", () => {
  test.each([
    [256, 1],
    [257, 2],
    [65_536, 2],
    [65_537, 3],
    [2 ** 24, 3],
  ])("of a codebook of %d into %d bytes each, and unpacked again", (codeCount, bytes) => {
    const rows = [
      [0, 1, codeCount - 1],
      [codeCount - 1, codeCount >> 1, 2],
    ];
    const packed = packTokens(Int32Array.from(rows.flat()), { rows: 2, columns: 3 }, codeCount);
    expect(packed?.bytes).toBe(bytes);
    expect(Buffer.from(packed?.codes ?? "", "base64")).toHaveLength(6 * bytes);
    expect(unpackTokens(packed as PictureTokens)).toEqual(rows);
  });

  test("not at all where they would be too long to be read again", () => {
    expect(packTokens(new Int32Array(512 * 512), { rows: 512, columns: 512 }, 4096)).toBeUndefined();
    const most = packTokens(new Int32Array(256 * 512), { rows: 256, columns: 512 }, 2 ** 24);
    expect(decodeSettings(JSON.stringify({ ...pictureSettings(), tokens: most }), "a.png").tokens).toEqual(
      most,
    );
  });
});
