import type { PrefixOption } from "../api/resolve-prefix.ts";
import { ZiparError } from "../errors.ts";
import { readTrace } from "../trace/read.ts";

/**
 * The first rows of a recorded run, which need not have come to its end.
 * @throws ZiparError `trace` where the file is none, `invalid-options` where it has fewer rows
 */
export async function readPrefix(path: string, rowCount: number): Promise<PrefixOption> {
  const { header, steps } = await readTrace(path);
  const { grid, prefix = [] } = header;
  const rows: number[][] = Array.from({ length: grid.rows }, (_, row) => [...(prefix[row] ?? [])]);
  for (const { cells } of steps)
    for (const { row, column, token } of cells) (rows[row] as number[])[column] = token;
  const firstOpen = rows.findIndex((tokens) => Object.keys(tokens).length < grid.columns);
  const wholeCount = firstOpen < 0 ? grid.rows : firstOpen;
  const tokens = rows.slice(0, rowCount);
  if (rowCount <= wholeCount) return { tokens };
  throw new ZiparError({
    code: "invalid-options",
    message: `--prefix-rows ${rowCount}: ${path} has ${wholeCount} rows of ${grid.columns} tokens from the top; expected at most so many`,
  });
}
