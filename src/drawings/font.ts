import { openSync, readFileSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { fileURLToPath } from "node:url";
import { inflateSync } from "node:zlib";
import { makeTemporaryDirectory, TEMPORARY_FILE, temporaryPath } from "../system/temporary-directory.ts";

export const FONT_FAMILY = "DejaVu Sans";

const PACKED = "@fontsource/dejavu-sans/files/dejavu-sans-latin-400-normal.woff";

let unpacked: string | undefined;

/**
 * The path of a TrueType file with the font of all labels: servers often have none. It is unpacked once per process,
 * because sharp's text renderer passes over WOFF files without a word. On Linux the file has no name, so that nothing
 * is left of it however the process ends; elsewhere it is removed when the process exits.
 */
export function fontFile(): string {
  if (unpacked !== undefined) return unpacked;
  const folder = temporaryPath("font");
  const remove = makeTemporaryDirectory(folder);
  const file = join(folder, TEMPORARY_FILE.font);
  writeFileSync(file, unpackWoff(readFileSync(fileURLToPath(import.meta.resolve(PACKED)))));
  unpacked = file;
  if (process.platform === "linux") {
    unpacked = `/proc/self/fd/${openSync(file, "r")}`;
    remove();
  }
  return unpacked;
}

const WOFF_HEADER = 44;
const WOFF_ENTRY = 20;
const TRUETYPE_HEADER = 12;
const TRUETYPE_ENTRY = 16;

/** A WOFF 1.0 font as the TrueType file that it packs (W3C Recommendation "WOFF File Format 1.0", sections 3 to 5). */
export function unpackWoff(woff: Buffer): Buffer {
  if (woff.toString("latin1", 0, 4) !== "wOFF") throw new Error("unpackWoff: not a WOFF 1.0 font");
  const tableCount = woff.readUInt16BE(12);
  const directory = Buffer.alloc(TRUETYPE_HEADER + tableCount * TRUETYPE_ENTRY);
  const searchRange = 2 ** Math.floor(Math.log2(tableCount)) * TRUETYPE_ENTRY;
  directory.writeUInt32BE(woff.readUInt32BE(4), 0);
  directory.writeUInt16BE(tableCount, 4);
  directory.writeUInt16BE(searchRange, 6);
  directory.writeUInt16BE(Math.floor(Math.log2(tableCount)), 8);
  directory.writeUInt16BE(tableCount * TRUETYPE_ENTRY - searchRange, 10);

  const tables: Buffer[] = [];
  let end = directory.length;
  for (let k = 0; k < tableCount; k++) {
    const entry = WOFF_HEADER + k * WOFF_ENTRY;
    const offset = woff.readUInt32BE(entry + 4);
    const packedLength = woff.readUInt32BE(entry + 8);
    const length = woff.readUInt32BE(entry + 12);
    const packed = woff.subarray(offset, offset + packedLength);
    const table = Buffer.alloc(Math.ceil(length / 4) * 4); // tables begin at multiples of four bytes
    (packedLength < length ? inflateSync(packed) : packed).copy(table);
    const target = TRUETYPE_HEADER + k * TRUETYPE_ENTRY;
    woff.copy(directory, target, entry, entry + 4); // its tag
    woff.copy(directory, target + 4, entry + 16, entry + 20); // its checksum
    directory.writeUInt32BE(end, target + 8);
    directory.writeUInt32BE(length, target + 12);
    tables.push(table);
    end += table.length;
  }
  return Buffer.concat([directory, ...tables]);
}
