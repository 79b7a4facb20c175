/** What was measured of the sides of a family, and what follows from it. */
import type { Aim, Side } from "./families.ts";

export interface ImageRun {
  readonly forwards: number;
  readonly seconds: number;
  /** In raster order. */
  readonly codes: readonly number[];
}

export interface SideRuns {
  readonly side: Side;
  /** The images of all rounds, in one order for all sides. */
  readonly runs: readonly ImageRun[];
  /** Of the process that computes, its load included; undefined where the system does not say. */
  readonly peakBytes: number | undefined;
}

export interface SideFigures {
  readonly name: string;
  /** Of an image: medians. */
  readonly forwards: number;
  readonly secondsPerImage: number;
  /** Over all images. */
  readonly msPerForward: number;
  readonly peakBytes: number | undefined;
  /** How many times as fast as each side of others, by its name: the ratio of medians. */
  readonly faster: Readonly<Record<string, number>>;
  readonly tokens: Agreement | undefined;
}

/** Of greedy tokens with those of the side that makes the same ones. */
export interface Agreement {
  readonly equalImages: number;
  readonly images: number;
  /** Tokens before the first other one, in the image where it comes first. */
  readonly equalTokens: number;
  readonly tokensPerImage: number;
}

export interface AimFigures extends Aim {
  /** Undefined where one of the sides was left out. */
  readonly reached: number | undefined;
}

export function figuresOf(sides: readonly SideRuns[]): readonly SideFigures[] {
  const others = sides.filter(({ side }) => "loop" in side);
  return sides.map((measured) => {
    const { side, runs, peakBytes } = measured;
    const source = "loop" in side ? undefined : others.find((other) => other.side.name === side.tokensOf);
    return {
      name: side.name,
      forwards: median(runs.map(({ forwards }) => forwards)),
      secondsPerImage: secondsPerImage(measured),
      msPerForward: (1000 * sum(runs.map(({ seconds }) => seconds))) / sum(runs.map((run) => run.forwards)),
      peakBytes,
      faster: Object.fromEntries(
        others.map((other) => [other.side.name, secondsPerImage(other) / secondsPerImage(measured)]),
      ),
      tokens: source && agreementOf(runs, source.runs),
    };
  });
}

export function aimFigures(aims: readonly Aim[], figures: readonly SideFigures[]): readonly AimFigures[] {
  return aims.map((aim) => ({
    ...aim,
    reached: figures.find(({ name }) => name === aim.side)?.faster[aim.than],
  }));
}

export function median(values: readonly number[]): number {
  const sorted = [...values].sort((a, b) => a - b);
  const middle = sorted.length / 2;
  const low = sorted[Math.ceil(middle) - 1] as number;
  const high = sorted[Math.floor(middle)] as number;
  return (low + high) / 2;
}

function secondsPerImage({ runs }: SideRuns): number {
  return median(runs.map(({ seconds }) => seconds));
}

function agreementOf(ours: readonly ImageRun[], theirs: readonly ImageRun[]): Agreement {
  const tokensPerImage = theirs[0]?.codes.length ?? 0;
  const pairs = ours.map(({ codes }, image) => [codes, theirs[image]?.codes ?? []] as const);
  return {
    equalImages: pairs.filter(([a, b]) => a.length === b.length && equalLength(a, b) === a.length).length,
    images: ours.length,
    equalTokens: Math.min(...pairs.map(([a, b]) => equalLength(a, b))),
    tokensPerImage,
  };
}

/** How long the common beginning of two lists is. */
function equalLength(a: readonly number[], b: readonly number[]): number {
  const other = a.findIndex((value, at) => value !== b[at]);
  return other < 0 ? Math.min(a.length, b.length) : other;
}

function sum(values: readonly number[]): number {
  return values.reduce((total, value) => total + value, 0);
}
