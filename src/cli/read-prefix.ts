import type { PrefixOption } from "../api/resolve-prefix.ts";
import { ZiparError } from "../errors.ts";
import { isPicture, readPictureTokens } from "../picture/read.ts";
import type { Trace } from "../trace/format.ts";
import { readTrace } from "../trace/read.ts";

/**
 * The first rows of a picture that zipar made, or of a recorded run, which need not have come to its end.
 * @throws ZiparError `picture` or `trace` where the file has no tokens, `invalid-options` where it has fewer rows
 */
export async function readPrefix(path: string, rowCount: number): Promise<PrefixOption> {
  const rows = (await isPicture(path)) ? await readPictureTokens(path) : wholeRows(await readTrace(path));
  if (rowCount <= rows.length) return { tokens: rows.slice(0, rowCount) };
  throw new ZiparError({
    code: "invalid-options",
    message: `--prefix-rows ${rowCount}: ${path} has ${rows.length} whole rows from the top; expected at most so many`,
  });
}

function wholeRows({ header: { grid, prefix = [] }, steps }: Trace): readonly number[][] {
  const rows = Array.from({ length: grid.rows }, (_, row): number[] => [...(prefix[row] ?? [])]);
  // A row's cells are decoded from the left.
  for (const { cells } of steps) for (const { row, token } of cells) rows[row]?.push(token);
  const firstOpen = rows.findIndex(({ length }) => length < grid.columns);
  return firstOpen < 0 ? rows : rows.slice(0, firstOpen);
}
