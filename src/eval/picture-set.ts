import { closeSync, openSync, readSync } from "node:fs";
import { GeneratedImage } from "../api/image.ts";
import { writeWhole } from "../system/write-whole.ts";

/** Writes pictures of one size and their classes as one safetensors file, as `zipar_worker.judge` reads it. */
export async function writePictureSet(
  path: string,
  images: readonly GeneratedImage[],
  labels: readonly number[],
): Promise<void> {
  const [first] = images;
  if (first === undefined) throw new Error("writePictureSet: no pictures");
  const { width, height } = first;
  const pictureBytes = width * height * 3;
  const pixelBytes = images.length * pictureBytes;
  const header = JSON.stringify({
    labels: { dtype: "I32", shape: [labels.length], data_offsets: [0, 4 * labels.length] },
    pictures: {
      dtype: "U8",
      shape: [images.length, height, width, 3],
      data_offsets: [4 * labels.length, 4 * labels.length + pixelBytes],
    },
  });
  const padded = header.padEnd(Math.ceil(header.length / 8) * 8); // tensors begin at a multiple of eight bytes
  const start = 8 + padded.length;
  const file = Buffer.alloc(start + 4 * labels.length + pixelBytes);
  file.writeBigUInt64LE(BigInt(padded.length), 0);
  file.write(padded, 8, "latin1");
  for (const [k, label] of labels.entries()) file.writeInt32LE(label, start + 4 * k);
  for (const [k, { pixels }] of images.entries())
    file.set(pixels, start + 4 * labels.length + k * pictureBytes);
  await writeWhole(path, file);
}

/** The first pictures of such a file. */
export function readPictures(path: string, count: number): readonly GeneratedImage[] {
  const file = openSync(path, "r");
  try {
    const headerLength = Number(readBytes(file, 8, 0).readBigUInt64LE());
    const { pictures } = JSON.parse(readBytes(file, headerLength, 8).toString("latin1")) as {
      pictures: { shape: [number, number, number, number]; data_offsets: [number, number] };
    };
    const [total, height, width] = pictures.shape;
    const pictureBytes = height * width * 3;
    const start = 8 + headerLength + pictures.data_offsets[0];
    return Array.from({ length: Math.min(count, total) }, (_, k) => {
      const data = readBytes(file, pictureBytes, start + k * pictureBytes);
      return new GeneratedImage({ width, height, data });
    });
  } finally {
    closeSync(file);
  }
}

function readBytes(file: number, count: number, position: number): Buffer {
  const bytes = Buffer.alloc(count);
  const read = readSync(file, bytes, 0, count, position);
  if (read !== count)
    throw new Error(`readPictures: ${count} bytes were expected at ${position}, the file ends after ${read}`);
  return bytes;
}
