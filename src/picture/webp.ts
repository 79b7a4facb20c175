import { DamagedPicture } from "./damaged.ts";

/** RFC 9649: `RIFF`, a length, `WEBP`, then chunks of type, length and data, padded to even lengths. */
const MAX_CHUNKS = 1000;
const MAX_XMP_BYTES = 1 << 22;

export function isWebp(bytes: Buffer): boolean {
  return bytes.toString("latin1", 0, 4) === "RIFF" && bytes.toString("latin1", 8, 12) === "WEBP";
}

/**
 * The XMP packet; undefined where there is none.
 * @throws DamagedPicture
 */
export function readWebpXmp(bytes: Buffer): string | undefined {
  const total = 8 + bytes.readUInt32LE(4);
  if (total > bytes.length)
    throw new DamagedPicture(`it is cut off: ${bytes.length} of its ${total} bytes are there`);
  let xmp: string | undefined;
  let at = 12;
  for (let count = 0; at + 8 <= total; count++) {
    if (count === MAX_CHUNKS) throw new DamagedPicture(`it has more than ${MAX_CHUNKS} chunks`);
    const length = bytes.readUInt32LE(at + 4);
    if (at + 8 + length > total) throw new DamagedPicture("one of its chunks is longer than it is");
    if (bytes.toString("latin1", at, at + 4) === "XMP ") {
      if (length > MAX_XMP_BYTES) throw new DamagedPicture(`its XMP has more than ${MAX_XMP_BYTES} bytes`);
      xmp ??= bytes.toString("utf8", at + 8, at + 8 + length);
    }
    at += 8 + length + (length % 2);
  }
  return xmp;
}
