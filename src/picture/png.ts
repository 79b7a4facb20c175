import { inflateSync } from "node:zlib";
import { crc32 } from "./crc32.ts";
import { DamagedPicture } from "./damaged.ts";

/** PNG (third edition), sections 5 and 11.3.3: a signature, then chunks of length, type, data and CRC. */
const SIGNATURE = Buffer.from([0x89, 0x50, 0x4e, 0x47, 0x0d, 0x0a, 0x1a, 0x0a]);
/** Signature and IHDR, which comes first and has 13 bytes. */
const HEADER_BYTES = SIGNATURE.length + 12 + 13;
/** Beside those with pixels, of which a large picture has thousands. */
const MAX_OTHER_CHUNKS = 1000;
const TEXT_CHUNKS: ReadonlySet<string> = new Set(["tEXt", "zTXt", "iTXt"]);
const MAX_TEXT_BYTES = 1 << 20;

export function isPng(bytes: Buffer): boolean {
  return bytes.subarray(0, SIGNATURE.length).equals(SIGNATURE);
}

/** The same picture with these texts, by keyword, before its pixels. Latin-1 is written as such, as old readers know only that. */
export function withPngTexts(png: Uint8Array, texts: Readonly<Record<string, string>>): Uint8Array {
  const chunks = Object.entries(texts).map(([keyword, text]) => textChunk(keyword, text));
  return Buffer.concat([png.subarray(0, HEADER_BYTES), ...chunks, png.subarray(HEADER_BYTES)]);
}

/**
 * The text under a keyword; undefined where there is none.
 * @throws DamagedPicture
 */
export function readPngText(bytes: Buffer, keyword: string): string | undefined {
  const prefix = Buffer.from(`${keyword}\0`, "latin1");
  let text: string | undefined;
  let otherCount = 0;
  for (let at = SIGNATURE.length; ; ) {
    if (at + 12 > bytes.length) throw new DamagedPicture("it is cut off");
    const length = bytes.readUInt32BE(at);
    const end = at + 12 + length;
    if (end > bytes.length)
      throw new DamagedPicture(
        `it is cut off: a chunk of ${length} bytes begins ${bytes.length - at} before its end`,
      );
    const type = bytes.toString("latin1", at + 4, at + 8);
    const data = bytes.subarray(at + 8, end - 4);
    if (type === "IEND") return text;
    if (type !== "IDAT" && ++otherCount > MAX_OTHER_CHUNKS)
      throw new DamagedPicture(`it has more than ${MAX_OTHER_CHUNKS} chunks beside its pixels`);
    if (TEXT_CHUNKS.has(type) && data.subarray(0, prefix.length).equals(prefix)) {
      if (length > MAX_TEXT_BYTES)
        throw new DamagedPicture(`its text "${keyword}" has more than ${MAX_TEXT_BYTES} bytes`);
      if (crc32(bytes.subarray(at + 4, end - 4)) !== bytes.readUInt32BE(end - 4))
        throw new DamagedPicture(`its text "${keyword}" has a wrong checksum`);
      text ??= textOf(type, data.subarray(prefix.length), keyword);
    }
    at = end;
  }
}

function textChunk(keyword: string, text: string): Buffer {
  const isLatin1 = !/[^\n\x20-\x7e\xa0-\xff]/.test(text);
  const head = isLatin1 ? `${keyword}\0` : `${keyword}\0\0\0\0\0`; // not compressed; no language, no translated keyword
  const body = Buffer.from(text, isLatin1 ? "latin1" : "utf8");
  const data = Buffer.concat([Buffer.from(isLatin1 ? "tEXt" : "iTXt"), Buffer.from(head, "latin1"), body]);
  const chunk = Buffer.alloc(data.length + 8);
  chunk.writeUInt32BE(data.length - 4, 0);
  chunk.set(data, 4);
  chunk.writeUInt32BE(crc32(data), data.length + 4);
  return chunk;
}

/** `data` begins after the keyword's zero. */
function textOf(type: string, data: Buffer, keyword: string): string {
  if (type === "tEXt") return data.toString("latin1");
  if (type === "zTXt") return inflated(data.subarray(1), keyword).toString("latin1");
  const language = data.indexOf(0, 2);
  const translated = language < 0 ? -1 : data.indexOf(0, language + 1);
  if (translated < 0) throw new DamagedPicture(`its text "${keyword}" is cut off`);
  const text = data.subarray(translated + 1);
  return (data[0] === 0 ? text : inflated(text, keyword)).toString("utf8");
}

function inflated(data: Buffer, keyword: string): Buffer {
  try {
    return inflateSync(data, { maxOutputLength: MAX_TEXT_BYTES });
  } catch {
    throw new DamagedPicture(`its text "${keyword}" is damaged, or has more than ${MAX_TEXT_BYTES} bytes`);
  }
}
