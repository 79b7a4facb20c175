import type { Pixels } from "../decode/worker.ts";
import { PIXELS_PER_TOKEN } from "./card.ts";

/** Pixels for tokens without a model: each becomes a square of one colour. */
export function stubPixels(codes: ArrayLike<number>, rows: number, columns: number): Pixels {
  const width = columns * PIXELS_PER_TOKEN;
  const height = rows * PIXELS_PER_TOKEN;
  const data = new Uint8Array(width * height * 3);
  for (let y = 0; y < height; y++) {
    for (let x = 0; x < width; x++) {
      const code = codes[
        Math.floor(y / PIXELS_PER_TOKEN) * columns + Math.floor(x / PIXELS_PER_TOKEN)
      ] as number;
      data.set([(code * 37) % 256, (code * 91) % 256, (code * 151) % 256], (y * width + x) * 3);
    }
  }
  return { width, height, data };
}
