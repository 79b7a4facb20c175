/**
 * The token grid of one image: `rows` x `columns` discrete image tokens in raster order.
 * `rowEnd: "token"` is for families that end each row with a fixed row-end token (Emu3, Lumina-mGPT).
 */
export interface TokenGrid {
  readonly rows: number;
  readonly columns: number;
  readonly rowEnd: "none" | "token";
}

/** Sequence positions per row. */
export function rowStride(grid: TokenGrid): number {
  return grid.columns + (grid.rowEnd === "token" ? 1 : 0);
}

/** Slot of a cell in the K/V cache: raster order after the prompt. */
export function cellSlot(grid: TokenGrid, promptLength: number, row: number, column: number): number {
  return promptLength + row * rowStride(grid) + column;
}

/** Slot of the last position of a row: its row-end token, or its last cell where there is none. */
export function rowLastSlot(grid: TokenGrid, promptLength: number, row: number): number {
  return cellSlot(grid, promptLength, row, rowStride(grid) - 1);
}

/** Slots that an image and its prompt occupy. */
export function slotCount(grid: TokenGrid, promptLength: number): number {
  return promptLength + grid.rows * rowStride(grid);
}

/** Forwards of next-token order, counted as the paper does: one per sequence position of the image (8190 for Emu3's 90 x 90). */
export function nextTokenForwardCount(grid: TokenGrid): number {
  return grid.rows * rowStride(grid);
}

/** What is left of a grid below the rows of a prefix: it is decoded in as many forwards as a grid of that size. */
export function belowPrefix(grid: TokenGrid, prefixRows: number): TokenGrid {
  return { ...grid, rows: grid.rows - prefixRows };
}

/** Cells that plain decoding at a fixed window has decoded before a step, those of a prefix included. */
export function decodedBefore(grid: TokenGrid, window: number, step: number, prefixRows = 0): number {
  let count = prefixRows * grid.columns;
  for (let row = prefixRows; row < grid.rows; row++)
    count += Math.min(Math.max(step - row * window, 0), grid.columns);
  return count;
}

/**
 * Steps of plain decoding at a fixed window after which so many cells are decoded. Below a prefix they begin with that of
 * its last row's end.
 */
export function stepsToDecode(grid: TokenGrid, window: number, cellCount: number, prefixRows = 0): number {
  let low = prefixRows * window;
  let high = plainForwardCount(grid, window);
  while (low < high) {
    const middle = (low + high) >>> 1;
    if (decodedBefore(grid, window, middle, prefixRows) >= cellCount) high = middle;
    else low = middle + 1;
  }
  return low;
}

/** Forwards of plain decoding at a fixed window, prefill included. */
export function plainForwardCount({ rows, columns }: TokenGrid, window: number): number {
  return columns + (rows - 1) * window;
}
