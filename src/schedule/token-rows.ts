/** Tokens in raster order, row by row. */
export function tokenRows(tokens: Int32Array, columns: number): number[][] {
  return Array.from({ length: tokens.length / columns }, (_, row) => [
    ...tokens.subarray(row * columns, (row + 1) * columns),
  ]);
}
