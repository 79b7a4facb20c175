import { ZiparError } from "../errors.ts";
import type { ModelCard } from "../protocol/messages.ts";

/** An image size in pixels, or an aspect ratio (width to height) such as `"16:9"`. */
export type ImageSize = { readonly width: number; readonly height: number } | `${number}:${number}`;

export type CardGrid = ModelCard["grids"][number];

/** How far, as a factor, the aspect ratio of a grid may be from the one that was asked for. */
const RATIO_TOLERANCE = 1.03;
/** Up to so many sizes a message lists them all. */
const LISTED_SIZES = 16;
const NEAREST_SIZES = 6;
/** What people call these shapes; a grid of whole tokens only comes near to most of them. */
const NAMED_RATIOS = ["1:1", "5:4", "4:3", "3:2", "16:9", "2:1", "21:9", "3:1", "4:1"].flatMap((name) => [
  name,
  name.split(":").reverse().join(":"),
]);

/**
 * The grid of a size, or the one whose aspect ratio is nearest to the one asked for; the card's first by default.
 * @throws ZiparError `invalid-options` with the sizes that the model knows
 */
export function resolveCardGrid(size: ImageSize | undefined, card: ModelCard): CardGrid {
  const chosen =
    size === undefined
      ? card.grids[0]
      : typeof size === "string"
        ? nearestInRatio(ratioOf(size), card.grids)
        : card.grids.find(({ width, height }) => width === size.width && height === size.height);
  if (chosen !== undefined) return chosen;
  const asked = typeof size === "string" ? `the ratio ${size}` : `the size ${size?.width}x${size?.height}`;
  throw new ZiparError({
    code: "invalid-options",
    message: `generate: ${card.name} does not know ${asked}; ${knownSizes(size as ImageSize, card.grids)}`,
    details: { sizes: card.grids.map(sizeName) },
  });
}

/** A size as requests write it: pixels such as `512x512`, else a ratio. */
export function readSize(text: string): ImageSize {
  const [, width, height] = /^(\d+)x(\d+)$/.exec(text) ?? [];
  return width === undefined ? (text as ImageSize) : { width: Number(width), height: Number(height) };
}

/** The aspect ratio of a size: the usual name of one within 3 %, else that of its sides in lowest terms. */
export function ratioName({ width, height }: { readonly width: number; readonly height: number }): string {
  const named = [...NAMED_RATIOS].sort(
    (a, b) => distance(ratioOf(a), width / height) - distance(ratioOf(b), width / height),
  )[0] as string;
  if (isNear(ratioOf(named), width / height)) return named;
  const divisor = greatestCommonDivisor(width, height);
  return `${width / divisor}:${height / divisor}`;
}

/** `960x544 (16:9)`. */
export function sizeName(size: { readonly width: number; readonly height: number }): string {
  return `${size.width}x${size.height} (${ratioName(size)})`;
}

function nearestInRatio(ratio: number, grids: readonly CardGrid[]): CardGrid | undefined {
  const [nearest] = grids
    .filter(({ width, height }) => isNear(ratio, width / height))
    .sort((a, b) => {
      const nearer = distance(ratio, a.width / a.height) - distance(ratio, b.width / b.height);
      return nearer || b.width * b.height - a.width * a.height; // of the same shape, the larger one
    });
  return nearest;
}

function knownSizes(size: ImageSize, grids: readonly CardGrid[]): string {
  if (grids.length <= LISTED_SIZES) return `expected one of ${grids.map(sizeName).join(", ")}`;
  const ratio = typeof size === "string" ? ratioOf(size) : size.width / size.height;
  const nearest = [...grids]
    .sort((a, b) => distance(ratio, a.width / a.height) - distance(ratio, b.width / b.height))
    .slice(0, NEAREST_SIZES);
  return (
    `expected one of its ${grids.length} sizes, of which ${nearest.map(sizeName).join(", ")} are nearest; ` +
    "`zipar info` lists them all"
  );
}

function ratioOf(name: string): number {
  const [width, height] = name.split(":").map(Number) as [number, number];
  return width / height;
}

function isNear(a: number, b: number): boolean {
  return distance(a, b) <= Math.log(RATIO_TOLERANCE);
}

/** Of two ratios, the same for both directions. */
function distance(a: number, b: number): number {
  return Math.abs(Math.log(a / b));
}

function greatestCommonDivisor(a: number, b: number): number {
  return b === 0 ? a : greatestCommonDivisor(b, a % b);
}
