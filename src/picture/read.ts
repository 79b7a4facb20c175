import { open, stat } from "node:fs/promises";
import { reasonOf, ZiparError } from "../errors.ts";
import { DamagedPicture } from "./damaged.ts";
import { PNG_KEYWORD } from "./encode.ts";
import { isJpeg, readJpegXmp } from "./jpeg.ts";
import { unpackTokens } from "./picture-tokens.ts";
import { isPng, readPngText } from "./png.ts";
import { decodeSettings, type PictureSettings } from "./settings.ts";
import { isWebp, readWebpXmp } from "./webp.ts";
import { readXmpSettings } from "./xmp.ts";

const MAX_FILE_BYTES = 1 << 27;
/** By which a picture is known. */
const HEAD_BYTES = 16;

/**
 * Reads how a picture was made from its file, PNG, WebP or JPEG by its content. Pictures are untrusted input: sizes are
 * checked before anything is allocated, and nothing is decoded but text.
 * @throws ZiparError `picture`
 */
export async function readPictureSettings(path: string): Promise<PictureSettings> {
  const bytes = await readBounded(path);
  const text = settingsText(bytes, path);
  if (text !== undefined) return decodeSettings(text, path);
  throw refusal(
    path,
    "nothing in it tells how it was made; zipar writes that into pictures unless it is told `--no-metadata`, " +
      "and most sites and editors take it out",
  );
}

/**
 * Reads the tokens that a picture of zipar's carries, row by row: `generate({ prefix: { tokens } })` goes on from the first
 * of them.
 * @throws ZiparError `picture`
 */
export async function readPictureTokens(path: string): Promise<number[][]> {
  const { tokens } = await readPictureSettings(path);
  if (tokens !== undefined) return unpackTokens(tokens);
  throw refusal(
    path,
    "it tells how it was made, and not its tokens: an earlier zipar made it, or it has too many of them; " +
      "make it again, or take the trace of its run",
  );
}

/** Whether a file begins as pictures do; one that cannot be read does not. */
export async function isPicture(path: string): Promise<boolean> {
  const file = await open(path).catch(() => undefined);
  if (file === undefined) return false;
  try {
    const { buffer } = await file.read(Buffer.alloc(HEAD_BYTES), 0, HEAD_BYTES, 0);
    return isPng(buffer) || isWebp(buffer) || isJpeg(buffer);
  } catch {
    return false; // a folder
  } finally {
    await file.close();
  }
}

async function readBounded(path: string): Promise<Buffer> {
  try {
    const found = await stat(path);
    if (!found.isFile()) throw refusal(path, "it is no file; expected a PNG, WebP or JPEG picture");
    if (found.size > MAX_FILE_BYTES) {
      throw refusal(path, `it has ${found.size} bytes; expected a picture of at most ${MAX_FILE_BYTES}`);
    }
    const file = await open(path);
    try {
      const bytes = Buffer.alloc(found.size);
      const { bytesRead } = await file.read(bytes, 0, found.size, 0);
      return bytes.subarray(0, bytesRead);
    } finally {
      await file.close();
    }
  } catch (cause) {
    if (ZiparError.is(cause)) throw cause;
    const isMissing = (cause as NodeJS.ErrnoException).code === "ENOENT";
    throw refusal(
      path,
      isMissing ? "there is no such file; a checkpoint is named by `model` (CLI `--model`)" : reasonOf(cause),
      cause,
    );
  }
}

function settingsText(bytes: Buffer, path: string): string | undefined {
  try {
    if (isPng(bytes)) return readPngText(bytes, PNG_KEYWORD);
    const xmp = isWebp(bytes) ? readWebpXmp(bytes) : isJpeg(bytes) ? readJpegXmp(bytes) : null;
    if (xmp === null) throw new DamagedPicture("it is no PNG, WebP or JPEG picture");
    return xmp === undefined ? undefined : readXmpSettings(xmp);
  } catch (cause) {
    if (cause instanceof DamagedPicture) throw refusal(path, cause.message);
    throw cause;
  }
}

function refusal(path: string, problem: string, cause?: unknown): ZiparError {
  return new ZiparError({ code: "picture", message: `cannot read ${path}: ${problem}`, cause });
}
