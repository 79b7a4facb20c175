import { z } from "zod";
import { ZiparError } from "../errors.ts";
import { LIMITS, MAX_INDEX, type ModelCard } from "../protocol/messages.ts";
import type { TokenGrid } from "../schedule/grid.ts";

export const prefixSchema = z.strictObject(
  {
    /** Rows of codebook indices, from the top: the first ones of another result's `tokens`, for example. */
    tokens: z
      .array(z.array(z.int().min(0).max(MAX_INDEX)).min(1).max(LIMITS.gridSide).readonly())
      .min(1)
      .max(LIMITS.gridSide)
      .readonly(),
  },
  "expected { tokens }, the first rows of a picture's tokens: `readPictureTokens` has those of one that zipar made, and there is " +
    "no encoder that would make them of others",
);

/** The first rows of a picture, from which it is decoded on. */
export type PrefixOption = z.input<typeof prefixSchema>;

/**
 * The tokens of a prefix in raster order.
 * @throws ZiparError `invalid-options` where they are no whole rows of the grid, leave nothing to decode, or are no codes of the model
 */
export function resolvePrefix(
  { tokens }: PrefixOption,
  { rows, columns }: TokenGrid,
  { name, codeCount }: ModelCard,
): Int32Array {
  const picture = `a picture of ${rows} x ${columns} tokens (rows x columns)`;
  if (tokens.length >= rows)
    throw invalid(
      rows === 1
        ? `\`prefix\`: ${picture} has no row that could be given and leave one to decode; leave it out`
        : `\`prefix.tokens\` has ${tokens.length} rows, which leaves nothing to decode of ${picture}; expected 1 to ${rows - 1} rows`,
    );
  for (const [row, codes] of tokens.entries()) {
    if (codes.length !== columns)
      throw invalid(
        `\`prefix.tokens[${row}]\` has ${codes.length} tokens; expected ${columns}, a whole row of ${picture}: ` +
          "was it cut from a picture of another `size`?",
      );
    const column = codes.findIndex((code) => code >= codeCount);
    if (column >= 0)
      throw invalid(
        `\`prefix.tokens[${row}][${column}]\` = ${codes[column]}: expected a code of ${name}, from 0 to ${codeCount - 1}: ` +
          "was it cut from a picture of another model?",
      );
  }
  return Int32Array.from(tokens.flat());
}

function invalid(message: string): ZiparError {
  return new ZiparError({ code: "invalid-options", message });
}
