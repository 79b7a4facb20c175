/**
 * Which decoded token is fed in place of the last one of row `i - 1` while that is not decoded, to open row `i` in a
 * family without row-end tokens.
 * - `two-rows-up`: the newest token of row `i - 2`, of row 0 for row 1; the nearest on the grid, and what the reference
 *   implementation feeds (LlamaGen-ZipAR, generate_zipar.py)
 * - `newest`: the newest token of row `i - 1`, the row that is stood in for
 * - `above`: the token of row `i - 1` at column 0, directly above the cell that is to be decoded
 */
export type SurrogateRule = "two-rows-up" | "above" | "newest";

/** The cell whose token opens `row`, when so many cells of the rows above are decoded. */
export function surrogateCell(
  rule: SurrogateRule,
  row: number,
  decodedCount: (row: number) => number,
): { readonly row: number; readonly column: number } {
  switch (rule) {
    case "two-rows-up": {
      const source = Math.max(0, row - 2);
      return { row: source, column: decodedCount(source) - 1 };
    }
    case "newest":
      return { row: row - 1, column: decodedCount(row - 1) - 1 };
    case "above":
      return { row: row - 1, column: 0 };
  }
}
