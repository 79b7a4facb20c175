import { execFileSync } from "node:child_process";
import { mkdirSync, mkdtempSync, rmSync, truncateSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { deflateSync } from "node:zlib";
import sharp from "sharp";
import { afterAll, beforeAll, describe, expect, test } from "vitest";
import { GeneratedImage } from "../../src/api/image.ts";
import { exitCodeOf } from "../../src/cli/failure.ts";
import { readPictureSettings } from "../../src/picture/read.ts";
import { encodeSettings } from "../../src/picture/settings.ts";
import { ziparErrorOf } from "../support/errors.ts";
import { pictureSettings } from "../support/picture-settings.ts";
import { pngChunk, withBytes, withChunk } from "../support/png-chunk.ts";

const folder = mkdtempSync(join(tmpdir(), "zipar-test-hostile-"));
afterAll(() => rmSync(folder, { recursive: true }));

const settings = pictureSettings();
const image = new GeneratedImage({ width: 8, height: 8, data: new Uint8Array(8 * 8 * 3) }, settings);
let plain: Buffer;
let whole: Readonly<Record<"png" | "webp" | "jpeg", Buffer>>;
beforeAll(async () => {
  plain = Buffer.from(await image.encode("png"));
  const encode = async (format: "png" | "webp" | "jpeg") =>
    Buffer.from(await image.encode(format, { metadata: true }));
  whole = { png: await encode("png"), webp: await encode("webp"), jpeg: await encode("jpeg") };
});

async function refusal(bytes: Uint8Array): Promise<string> {
  const path = join(folder, "picture");
  writeFileSync(path, bytes);
  return refusalOf(path);
}

async function refusalOf(path: string): Promise<string> {
  const error = await ziparErrorOf(() => readPictureSettings(path));
  expect([error.code, exitCodeOf(error)]).toEqual(["picture", 2]);
  expect(error.message).toContain(path);
  expect(error.message).toMatch(/^[ -~]{1,600}$/); // one line, nothing that a terminal obeys
  return error.message;
}

const text = (json: string) => withChunk(plain, "tEXt", `zipar\0${json}`);
const changed = (change: object) => text(JSON.stringify({ ...settings, ...change }));
const changedOptions = (change: object) => changed({ options: { ...settings.options, ...change } });
const changedTokens = (change: object) => changed({ tokens: { ...settings.tokens, ...change } });
const bomb = () => deflateSync(Buffer.alloc(1 << 23, 0x20));

describe("a picture is refused, in one line,", () => {
  test.each(["png", "webp", "jpeg"] as const)("when it is cut anywhere: %s", async (format) => {
    const bytes = whole[format];
    for (let length = 0; length < bytes.length; length += 1 + Math.floor(bytes.length / 20))
      expect(await refusal(bytes.subarray(0, length))).toMatch(/cut off|is no PNG, WebP or JPEG/);
  });

  test.each<[string, () => Uint8Array, string]>([
    ["it is empty", () => Buffer.alloc(0), "is no PNG, WebP or JPEG picture"],
    ["it is something else", () => Buffer.from("GIF89a and more"), "is no PNG, WebP or JPEG picture"],
    [
      "a chunk claims a gigabyte",
      () => withBytes(plain, pngChunk("iTXt", "zipar\0", 1 << 30)),
      "cut off: a chunk of 1073741824",
    ],
    [
      "a chunk claims all that there is",
      () => withBytes(plain, pngChunk("tEXt", "", 2 ** 32 - 1)),
      "cut off",
    ],
    [
      "it has 10,000 chunks",
      () => withBytes(plain, Buffer.concat(Array(10_000).fill(pngChunk("tEXt", "a\0")))),
      "more than 1000 chunks",
    ],
    [
      "its text is damaged",
      () =>
        Buffer.from(
          whole.png.toString("latin1").replace("lighthouse", "lightHouse").replace("emu3", "emu4"),
          "latin1",
        ),
      "wrong checksum",
    ],
    [
      "zTXt unpacks to 8 MiB",
      () => withChunk(plain, "zTXt", Buffer.concat([Buffer.from("zipar\0\0"), bomb()])),
      "more than 1048576 bytes",
    ],
    [
      "iTXt unpacks to 8 MiB",
      () => withChunk(plain, "iTXt", Buffer.concat([Buffer.from("zipar\0\x01\0\0\0"), bomb()])),
      "more than 1048576 bytes",
    ],
    ["zTXt is no zlib", () => withChunk(plain, "zTXt", "zipar\0\0nonsense"), "is damaged"],
    ["iTXt ends in its head", () => withChunk(plain, "iTXt", "zipar\0\0\0en"), "is cut off"],
    ["its text is of 2 MB", () => text("x".repeat(2_000_000)), "more than 1048576 bytes"],
    ["it is no JSON", () => text("{'a': 1}\x1b[31m"), "it is no JSON"],
    ["it is nested 300,000 deep", () => text("[".repeat(300_000)), "cannot be read"],
    [
      "it is JSON of another program",
      () => text('{"prompt":{"1":{"class_type":"KSampler"}}}'),
      "cannot be read",
    ],
    ["it is null", () => text("null"), "cannot be read"],
    ["its tokens are of another grid", () => changedTokens({ columns: 4 }), "as many codes"],
    ["its tokens are a million", () => changedTokens({ rows: 1024, columns: 1024 }), "as many codes"],
    ["its tokens have seven bytes", () => changedTokens({ bytes: 7 }), "`tokens.bytes`"],
    ["its tokens are no base64", () => changedTokens({ codes: "\x1b[2J" }), "`tokens.codes`"],
    ["it is of a newer zipar", () => changed({ version: 2 }), "written by a newer zipar"],
    ["it has more than we know", () => changed({ "\x1b[2J": 1 }), "cannot be read"],
    [
      "a name holds an escape",
      () => changed({ card: { family: "emu3", name: "\x1b]0;pwned\x07" } }),
      "`card.name`",
    ],
    ["a device is turned around", () => changed({ device: "\u202egnp.exe" }), "`device`"],
    ["its model is a path", () => changed({ model: { reference: "../../etc/passwd" } }), "demo"],
    ["its model is a web address", () => changed({ model: { reference: "https://a.example/b" } }), "demo"],
    ["its seed is no number", () => changedOptions({ seed: "7; rm -rf" }), "options.seed"],
    [
      "its window is too much",
      () => changedOptions({ window: { kind: "guessed", size: 1e99, unchanged: 0 } }),
      "options.window",
    ],
    ["its prompt is too long", () => changedOptions({ prompt: "x".repeat(70_000) }), "options.prompt"],
    ["its options are not those of generate", () => changedOptions({ trace: "x" }), "cannot be read"],
  ])("when %s", async (_, bytes, problem) => {
    expect(await refusal(bytes())).toContain(problem);
  });

  test("when it is WebP or JPEG of too many parts, or of parts that lie", async () => {
    const many = Buffer.concat([
      Buffer.from("RIFF____WEBP"),
      Buffer.concat(Array(10_000).fill(Buffer.from("EXIF\0\0\0\0"))),
    ]);
    many.writeUInt32LE(many.length - 8, 4);
    expect(await refusal(many)).toContain("more than 1000 chunks");
    const lying = Buffer.from(whole.webp);
    lying.writeUInt32LE(1 << 30, 16);
    expect(await refusal(lying)).toContain("longer than it is");
    const segments = Buffer.concat([
      Buffer.from([0xff, 0xd8]),
      ...Array(10_000).fill(Buffer.from([0xff, 0xe0, 0, 2])),
    ]);
    expect(await refusal(segments)).toContain("more than 1000 segments");
    expect(await refusal(Buffer.from([0xff, 0xd8, 0xff, 0xe0, 0, 0, 0, 0]))).toContain(
      "segments are damaged",
    );
  });

  test("when its XMP holds entities that lie", async () => {
    const packet = '<x zipar:settings="&#x41;&#0;&#xD800;&bomb;&lol9;&#999999;"/>';
    const bytes = await sharp(plain).withXmp(packet).webp().toBuffer();
    expect(await refusal(bytes)).toContain("it is no JSON");
  });

  test("when it is no file, a huge one, or not there", async () => {
    mkdirSync(join(folder, "a-folder"));
    expect(await refusalOf(join(folder, "a-folder"))).toContain("it is no file");
    expect(await refusalOf(join(folder, "none.png"))).toContain("there is no such file");
    writeFileSync(join(folder, "huge.png"), plain);
    truncateSync(join(folder, "huge.png"), 2 ** 33); // sparse
    expect(await refusalOf(join(folder, "huge.png"))).toContain("expected a picture of at most");
    if (process.platform === "win32") return;
    execFileSync("mkfifo", [join(folder, "pipe")]);
    expect(await refusalOf(join(folder, "pipe"))).toContain("it is no file");
  });
});

test("thousands of chunks with pixels are no reason to refuse a large picture", async () => {
  const end = whole.png.length - 12;
  const idle = Buffer.concat(Array(20_000).fill(pngChunk("IDAT", "")));
  const bytes = Buffer.concat([whole.png.subarray(0, end), idle, whole.png.subarray(end)]);
  writeFileSync(join(folder, "large"), bytes);
  expect(await readPictureSettings(join(folder, "large"))).toEqual(settings);
  expect(encodeSettings(settings)).toMatch(/^[ -~]+$/);
});
