import { z } from "zod";
import { LIMITS } from "../protocol/messages.ts";

const side = z.int().min(1).max(LIMITS.gridSide);

/** With more of them a picture carries none: its text would be too long to be read again. */
const MAX_TOKENS = 1 << 17;

/** The tokens of a picture as it carries them. */
export const pictureTokensSchema = z
  .strictObject({
    rows: side,
    columns: side,
    /** Of a code. */
    bytes: z.int().min(1).max(3),
    /** Raster order: whole numbers of so many bytes each, the lowest first, in base64. */
    codes: z.base64(),
  })
  .refine(
    ({ rows, columns, bytes, codes }) => Buffer.byteLength(codes, "base64") === rows * columns * bytes,
    "expected as many codes as the grid has cells",
  );

export type PictureTokens = z.output<typeof pictureTokensSchema>;

/** @param tokens raster order; undefined where they are too many */
export function packTokens(
  tokens: Int32Array,
  { rows, columns }: { readonly rows: number; readonly columns: number },
  codeCount: number,
): PictureTokens | undefined {
  if (tokens.length > MAX_TOKENS) return undefined;
  const bytes = codeCount <= 1 << 8 ? 1 : codeCount <= 1 << 16 ? 2 : 3;
  const packed = Buffer.alloc(tokens.length * bytes);
  for (const [cell, token] of tokens.entries()) packed.writeUIntLE(token, cell * bytes, bytes);
  return { rows, columns, bytes, codes: packed.toString("base64") };
}

/** Row by row. */
export function unpackTokens({ rows, columns, bytes, codes }: PictureTokens): number[][] {
  const packed = Buffer.from(codes, "base64");
  return Array.from({ length: rows }, (_, row) =>
    Array.from({ length: columns }, (_, column) =>
      packed.readUIntLE((row * columns + column) * bytes, bytes),
    ),
  );
}
