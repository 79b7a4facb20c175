import { mkdtempSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { deflateSync } from "node:zlib";
import sharp from "sharp";
import { afterAll, describe, expect, test } from "vitest";
import { GeneratedImage } from "../../src/api/image.ts";
import type { ImageFormat } from "../../src/picture/encode.ts";
import { readPictureSettings } from "../../src/picture/read.ts";
import { encodeSettings, type PictureSettings } from "../../src/picture/settings.ts";
import { ziparErrorOf } from "../support/errors.ts";
import { pictureSettings } from "../support/picture-settings.ts";
import { withChunk } from "../support/png-chunk.ts";

const folder = mkdtempSync(join(tmpdir(), "zipar-test-settings-"));
afterAll(() => rmSync(folder, { recursive: true }));

const FORMATS: readonly ImageFormat[] = ["png", "webp", "jpeg"];
const data = Uint8Array.from({ length: 24 * 16 * 3 }, (_, k) => (k * 7) % 256);
const PROMPT =
  "\u706f\u53f0 Caf\u00e9 \ud83d\udc68\u200d\ud83d\ude80, \"two\" <b>&amp;</b>\n--> ]]> \u0007\ufffe 'x'";

function picture(settings?: PictureSettings): GeneratedImage {
  return new GeneratedImage({ width: 24, height: 16, data }, settings);
}

async function readAgain(bytes: Uint8Array): Promise<PictureSettings> {
  const path = join(folder, "no-ending");
  writeFileSync(path, bytes);
  return readPictureSettings(path);
}

describe("what a picture carries is read again", () => {
  test.each(FORMATS)("from %s, told by its content, whatever the prompt holds", async (format) => {
    for (const settings of [
      pictureSettings(),
      pictureSettings({
        prompt: PROMPT,
        negativePrompt: PROMPT,
        window: { kind: "guessed", size: 3, unchanged: 1 },
      }),
      pictureSettings({ prompt: "x".repeat(14_000), temperature: 0.1 + 0.2, seed: Number.MAX_SAFE_INTEGER }),
    ]) {
      const bytes = await picture(settings).encode(format, { metadata: true });
      expect(await readAgain(bytes)).toEqual(settings);
    }
  });

  test.each(["png", "webp"] as const)("and the pixels of %s stay what they are", async (format) => {
    const bytes = await picture(pictureSettings()).encode(format, { metadata: true });
    expect(new Uint8Array(await sharp(bytes).raw().toBuffer())).toEqual(data);
  });

  test("from a PNG whose text another program has compressed", async () => {
    const plain = Buffer.from(await picture().encode("png"));
    const settings = pictureSettings();
    const text = deflateSync(encodeSettings(settings));
    const chunks = {
      zTXt: Buffer.concat([Buffer.from("zipar\0\0"), text]),
      iTXt: Buffer.concat([Buffer.from("zipar\0\x01\0en\0zipar\0"), text]),
    };
    for (const [type, body] of Object.entries(chunks))
      expect(await readAgain(withChunk(plain, type, body))).toEqual(settings);
  });

  test.each(["zipar:settings='%'", "><zipar:settings>%</zipar:settings"])(
    "from XMP that another program has written anew: %s",
    async (form) => {
      const settings = pictureSettings();
      const json = encodeSettings(settings).replaceAll('"', "&#x22;").replaceAll(":", "&#58;");
      const bytes = await sharp(data, { raw: { width: 24, height: 16, channels: 3 } })
        .withXmp(`<x:xmpmeta ${form.replace("%", json)}></x:xmpmeta>`)
        .webp()
        .toBuffer();
      expect(await readAgain(bytes)).toEqual(settings);
    },
  );

  test("by libpng, whose texts have the form of the web UI", async () => {
    const settings = pictureSettings({
      guidanceInterval: [0.2, 0.8],
      window: { kind: "guessed", size: 3, unchanged: 0 },
    });
    const { comments } = await sharp(await picture(settings).encode("png", { metadata: true })).metadata();
    expect(comments).toEqual([
      {
        keyword: "parameters",
        text:
          "a lighthouse\nNegative prompt: blurry, low contrast\n" +
          "Steps: 92, Sampler: ZipAR, CFG scale: 3.5, Seed: 7, Size: 24x16, Model: owner/model@main, " +
          'Window: "guessed:3", Guidance interval: 0.2-0.8, Temperature: 1, Top-k: 2048, Top-p: 1, Version: zipar 0.1.0',
      },
      { keyword: "zipar", text: encodeSettings(settings) },
    ]);
  });

  test("by libpng, for a prompt beyond Latin-1; one within it lies in the older kind of text", async () => {
    const [older, newer] = await Promise.all(
      ["Caf\u00e9", "\u706f\u53f0"].map((prompt) =>
        picture(pictureSettings({ prompt })).encode("png", { metadata: true }),
      ),
    );
    expect(Buffer.from(older as Uint8Array).includes("tEXtparameters\0Caf\xe9\n", 0, "latin1")).toBe(true);
    const { comments } = await sharp(newer).metadata();
    expect(comments?.[0]?.text.split("\n")[0]).toBe("\u706f\u53f0");
  });
});

describe("a picture carries nothing", () => {
  test.each(FORMATS)("unless it is asked for, in %s", async (format) => {
    const bytes = Buffer.from(await picture(pictureSettings()).encode(format));
    expect(bytes.includes("lighthouse")).toBe(false);
    const error = await ziparErrorOf(() => readAgain(bytes));
    expect([error.code, error.message]).toEqual([
      "picture",
      expect.stringContaining("nothing in it tells how it was made"),
    ]);
  });

  test("where it does not fit into a JPEG, and no tokens where those are what is too long; the picture is whole nevertheless", async () => {
    const settings = pictureSettings({ prompt: "\u706f".repeat(12_000) });
    const bytes = await picture(settings).encode("jpeg", { metadata: true });
    expect((await sharp(bytes).metadata()).width).toBe(24);
    expect((await ziparErrorOf(() => readAgain(bytes))).message).toContain("nothing in it tells");
    const codes = Buffer.alloc(50_000).toString("base64");
    const large = { ...pictureSettings(), tokens: { rows: 250, columns: 200, bytes: 1, codes } };
    const { tokens: _, ...others } = large;
    expect(await readAgain(await picture(large).encode("jpeg", { metadata: true }))).toEqual(others);
    expect(await readAgain(await picture(settings).encode("webp", { metadata: true }))).toEqual(settings);
  });

  test("where it does not know it, and asking for it is an error", async () => {
    const error = await ziparErrorOf(() => picture().encode("png", { metadata: true }));
    expect([error.code, error.message]).toEqual(["invalid-options", expect.stringContaining("no preview")]);
  });
});
