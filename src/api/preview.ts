import type { Pixels } from "../decode/worker.ts";
import { decodedIn, type SequenceState } from "../schedule/sequence-state.ts";

/** A 1 for each decoded cell, in raster order. */
export function decodedCells(state: SequenceState): Uint8Array {
  const { rows, columns } = state.grid;
  const decoded = new Uint8Array(rows * columns);
  for (let row = 0; row < rows; row++) {
    decoded.fill(1, row * columns, row * columns + decodedIn(state, row));
  }
  return decoded;
}

/** Paints undecoded cells grey, so that a preview shows nothing that the model has not said. */
export function withoutUndecoded(
  pixels: Pixels,
  decoded: Uint8Array,
  { grid }: Pick<SequenceState, "grid">,
): Pixels {
  const data = pixels.data.slice();
  for (let y = 0; y < pixels.height; y++) {
    const row = Math.floor((y * grid.rows) / pixels.height);
    for (let x = 0; x < pixels.width; x++) {
      const column = Math.floor((x * grid.columns) / pixels.width);
      if (decoded[row * grid.columns + column] === 0)
        data.fill(128, (y * pixels.width + x) * 3, (y * pixels.width + x) * 3 + 3);
    }
  }
  return { ...pixels, data };
}
