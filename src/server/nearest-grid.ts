import type { CardGrid, ImageSize } from "../api/image-size.ts";

/** The size that is nearest in shape; of the same shape, the one nearest in area. */
export function nearestGrid(size: ImageSize, grids: readonly CardGrid[]): CardGrid {
  const { width, height } = typeof size === "string" ? sidesOf(size) : size;
  const shape = (grid: CardGrid) => Math.abs(Math.log((grid.width / grid.height) * (height / width)));
  const area = (grid: CardGrid) => Math.abs(Math.log((grid.width * grid.height) / (width * height)));
  const [nearest] = [...grids].sort((a, b) => shape(a) - shape(b) || area(a) - area(b));
  if (nearest === undefined) throw new Error("nearestGrid: the model has no size");
  return nearest;
}

/** A ratio has no area of its own: the largest of its shape. */
function sidesOf(ratio: string): { readonly width: number; readonly height: number } {
  const [width, height] = ratio.split(":").map(Number) as [number, number];
  return { width: width * 1e6, height: height * 1e6 };
}
