import { crc32 } from "../../src/picture/crc32.ts";

/** A chunk of a PNG; `claimed` is what it says of its length. */
export function pngChunk(type: string, body: Uint8Array | string, claimed?: number): Buffer {
  const data = Buffer.concat([Buffer.from(type), Buffer.from(body as Uint8Array)]);
  const chunk = Buffer.concat([Buffer.alloc(4), data, Buffer.alloc(4)]);
  chunk.writeUInt32BE(claimed ?? data.length - 4, 0);
  chunk.writeUInt32BE(crc32(data), chunk.length - 4);
  return chunk;
}

/** The same PNG with chunks after its header. */
export function withChunk(png: Buffer, type: string, body: Uint8Array | string): Buffer {
  return withBytes(png, pngChunk(type, body));
}

export function withBytes(png: Buffer, bytes: Uint8Array): Buffer {
  return Buffer.concat([png.subarray(0, 33), bytes, png.subarray(33)]);
}
