import type { Engine } from "../api/engine.ts";
import type { Conditioning, ForwardStep, Sampling, Worker } from "../decode/worker.ts";
import { probabilityOf } from "../schedule/distribution.ts";
import { rowStride, slotCount, type TokenGrid } from "../schedule/grid.ts";
import type { Query, Want } from "../schedule/step-plan.ts";

/** A finished image whose tokens are to be scored. */
export interface ScoredImage {
  readonly conditioning: Conditioning;
  readonly grid: TokenGrid;
  /** Raster order. */
  readonly tokens: ArrayLike<number>;
}

/** The model's own law: the conditional branch alone, nothing filtered. */
const PLAIN: Sampling = { guidanceScale: 1, temperature: 1, topK: 0, topP: 1 };

/** Probabilities asked for in one forward: 32 MiB on the wire. */
const MAX_PROBABILITIES = 2 ** 22;

/** Float32 ends here; a less likely token comes back with probability 0. */
const SMALLEST_PROBABILITY = 2 ** -126;

/**
 * Bits per token of each image under the model itself: `-log2 p(token | tokens before it)` in raster order, teacher
 * forced, at guidance scale 1 and temperature 1.
 */
export function scoreTokens(engine: Engine, images: readonly ScoredImage[]): Promise<readonly number[]> {
  return engine.whenIdle(async (worker, newSequence) => {
    const scores: number[] = [];
    for (let first = 0; first < images.length; first += worker.cacheRowCount) {
      const together = images.slice(first, first + worker.cacheRowCount);
      scores.push(...(await scoreTogether(worker, together.map(newSequence), together)));
    }
    return scores;
  });
}

/** One cache row each. */
async function scoreTogether(
  worker: Worker,
  sequences: readonly number[],
  images: readonly ScoredImage[],
): Promise<readonly number[]> {
  const bits = images.map(() => 0);
  try {
    const queries: (readonly Query[])[] = [];
    for (const [k, { conditioning, grid, tokens }] of images.entries()) {
      const { rows, columns } = grid;
      const prompt = { sequence: sequences[k] as number, cacheRows: [k], rows, columns, conditioning };
      const { promptLength } = await worker.encodePrompt(prompt);
      queries.push(rasterQueries(grid, promptLength, tokens, worker.card.codeCount));
    }
    const longest = Math.max(...queries.map(({ length }) => length));
    const chunk = Math.max(1, Math.floor(MAX_PROBABILITIES / (worker.card.codeCount * images.length)));
    for (let start = 0; start < longest; start += chunk) {
      await scoreChunk(worker, images, sequences, queries, { start, end: start + chunk }, bits);
    }
  } finally {
    await worker.release(sequences);
  }
  return bits.map((sum, k) => sum / (images[k] as ScoredImage).tokens.length);
}

/** One forward over queries `start .. end-1` of every image that has so many; adds to `bits`. */
async function scoreChunk(
  worker: Worker,
  images: readonly ScoredImage[],
  sequences: readonly number[],
  queries: readonly (readonly Query[])[],
  { start, end }: { start: number; end: number },
  bits: number[],
): Promise<void> {
  const live = images.flatMap((_, k) => ((queries[k] as readonly Query[]).length > start ? [k] : []));
  const steps = live.map((k): ForwardStep => {
    const part = (queries[k] as readonly Query[]).slice(start, end);
    const last = part[part.length - 1] as Query;
    return {
      sequence: sequences[k] as number,
      plan: { queries: part, runs: Int32Array.of(0, last.slot + 1) },
      sampling: PLAIN,
    };
  });
  const results = await worker.forward(steps);
  for (const [position, k] of live.entries()) {
    const { grid, tokens } = images[k] as ScoredImage;
    for (const [q, { want }] of (steps[position] as ForwardStep).plan.queries.entries()) {
      const result = results[position]?.[q];
      if (want.type === "none") continue;
      if (result === undefined || !("tokens" in result))
        throw new Error("scoreTokens: no distribution came back");
      const probability = probabilityOf(result, tokens[want.row * grid.columns + want.column] as number);
      bits[k] = (bits[k] as number) - Math.log2(Math.max(probability, SMALLEST_PROBABILITY));
    }
  }
}

/** Every slot that predicts a cell, fed in order: query k has slot k. */
function rasterQueries(
  grid: TokenGrid,
  promptLength: number,
  tokens: ArrayLike<number>,
  codeCount: number,
): readonly Query[] {
  const stride = rowStride(grid);
  return Array.from({ length: slotCount(grid, promptLength) - 1 }, (_, slot): Query => {
    const want = wantAfter(grid, slot + 1 - promptLength);
    if (slot < promptLength) return { kind: "prompt", token: 0, slot, step: 0, want };
    const row = Math.floor((slot - promptLength) / stride);
    const column = (slot - promptLength) % stride;
    if (column === grid.columns) return { kind: "row-start", token: codeCount, slot, step: 0, want };
    return { kind: "ordinary", token: tokens[row * grid.columns + column] as number, slot, step: 0, want };
  });
}

/** The cell at a position of the image's part of the sequence; none for a row-end token or within the prompt. */
function wantAfter(grid: TokenGrid, position: number): Want {
  const stride = rowStride(grid);
  const column = position % stride;
  if (position < 0 || column === grid.columns) return { type: "none" };
  return { type: "distribution", row: Math.floor(position / stride), column };
}
