import { mkdtempSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import sharp from "sharp";
import { afterAll, describe, expect, test } from "vitest";
import { GeneratedImage } from "../../src/api/image.ts";
import { ziparErrorOf } from "../support/errors.ts";

const directory = mkdtempSync(join(tmpdir(), "zipar-test-image-"));
afterAll(() => rmSync(directory, { recursive: true }));

const WIDTH = 24;
const HEIGHT = 16;
/** A gradient with a corner, so that turned or mirrored pixels show. */
const data = Uint8Array.from({ length: WIDTH * HEIGHT * 3 }, (_, k) => {
  const x = Math.floor(k / 3) % WIDTH;
  const y = Math.floor(k / 3 / WIDTH);
  return [x * 10, y * 15, x < 8 && y < 8 ? 255 : 0][k % 3] as number;
});
const image = new GeneratedImage({ width: WIDTH, height: HEIGHT, data });

async function pixelsOf(input: string | Uint8Array) {
  const { data, info } = await sharp(input).raw().toBuffer({ resolveWithObject: true });
  return { pixels: new Uint8Array(data), width: info.width, height: info.height, channels: info.channels };
}

describe("a saved picture", () => {
  test.each(["png", "webp"])("comes back without loss from .%s", async (ending) => {
    const path = join(directory, `a.${ending}`);
    await image.save(path);
    expect((await sharp(path).metadata()).format).toBe(ending);
    expect(await pixelsOf(path)).toEqual({ pixels: data, width: WIDTH, height: HEIGHT, channels: 3 });
  });

  test.each(["jpg", "jpeg", "JPG"])("comes back nearly the same from .%s", async (ending) => {
    const path = join(directory, `b.${ending}`);
    await image.save(path);
    expect((await sharp(path).metadata()).format).toBe("jpeg");
    const { pixels, width, height } = await pixelsOf(path);
    expect([width, height]).toEqual([WIDTH, HEIGHT]);
    const error =
      pixels.reduce((sum, value, k) => sum + Math.abs(value - (data[k] as number)), 0) / data.length;
    expect(error).toBeLessThan(8);
  });

  test("can be encoded in memory", async () => {
    expect((await pixelsOf(await image.encode("png"))).pixels).toEqual(data);
  });
});

describe("a picture that cannot be saved is an image-output error that says why", () => {
  test.each(["a.bmp", "a", "a.png/", ".png.", "dir.png/a"])("unknown ending: %s", async (name) => {
    const error = await ziparErrorOf(() =>
      image.save(join(directory, "x", name).concat(name.endsWith("/") ? "/" : "")),
    );
    expect(error.code).toBe("image-output");
    expect(error.message).toContain(".png, .webp, .jpg or .jpeg");
  });

  test("a directory that does not exist", async () => {
    const path = join(directory, "nowhere", "a.png");
    const error = await ziparErrorOf(() => image.save(path));
    expect(error.code).toBe("image-output");
    expect(error.message).toContain(path);
  });

  test("a file in the place of a directory", async () => {
    writeFileSync(join(directory, "file"), "");
    const error = await ziparErrorOf(() => image.save(join(directory, "file", "a.png")));
    expect(error.code).toBe("image-output");
  });
});
