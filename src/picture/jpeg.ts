import { DamagedPicture } from "./damaged.ts";

/** ISO 10918-1, annex B: segments of a marker, a length of two bytes, and data; pixels begin after a start of scan. */
const XMP_HEAD = "http://ns.adobe.com/xap/1.0/\0";
const START_OF_SCAN = 0xda;
const APP1 = 0xe1;
const END_OF_IMAGE = Buffer.from([0xff, 0xd9]);
const MAX_SEGMENTS = 1000;

/** What a packet may have at most: it lies in one segment, and libvips leaves out a larger one. */
export const MAX_JPEG_XMP_BYTES = 60_000;

export function isJpeg(bytes: Buffer): boolean {
  return bytes[0] === 0xff && bytes[1] === 0xd8 && bytes[2] === 0xff;
}

/**
 * The XMP packet; undefined where there is none.
 * @throws DamagedPicture
 */
export function readJpegXmp(bytes: Buffer): string | undefined {
  let xmp: string | undefined;
  let at = 2;
  for (let count = 0; ; count++) {
    if (count === MAX_SEGMENTS)
      throw new DamagedPicture(`it has more than ${MAX_SEGMENTS} segments before its pixels`);
    while (bytes[at] === 0xff && bytes[at + 1] === 0xff) at++; // fill bytes
    if (at + 4 > bytes.length) throw new DamagedPicture("it is cut off");
    const length = bytes.readUInt16BE(at + 2);
    if (bytes[at] !== 0xff || length < 2) throw new DamagedPicture("its segments are damaged");
    const end = at + 2 + length;
    if (end > bytes.length) throw new DamagedPicture("it is cut off");
    const marker = bytes[at + 1];
    if (marker === START_OF_SCAN) {
      if (bytes.lastIndexOf(END_OF_IMAGE) < end) throw new DamagedPicture("it is cut off");
      return xmp;
    }
    const body = at + 4 + XMP_HEAD.length;
    if (marker === APP1 && body <= end && bytes.toString("latin1", at + 4, body) === XMP_HEAD)
      xmp ??= bytes.toString("utf8", body, end);
    at = end;
  }
}
