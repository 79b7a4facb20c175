import { withDetails, ZiparError } from "../errors.ts";
import type { TokenGrid } from "../schedule/grid.ts";
import type { GuidanceInterval } from "../schedule/guidance-interval.ts";
import { decodedIn, type SequenceState } from "../schedule/sequence-state.ts";
import type { QueryResult, StepOutcome } from "../schedule/step-outcome.ts";
import type { StepPlan } from "../schedule/step-plan.ts";
import type { SurrogateRule } from "../schedule/surrogate.ts";
import type { Window } from "../schedule/window.ts";
import type { Conditioning, Pixels, Sampling } from "./worker.ts";

/** What the decode loop must know of an image that is asked for. */
export interface ImageRequest {
  readonly conditioning: Conditioning;
  readonly grid: TokenGrid;
  readonly window: Window;
  /** Steps of plain decoding ahead for which guesses are fed: as many as pay, or so many. */
  readonly lookahead: number | "auto";
  readonly sampling: Sampling;
  readonly guidanceInterval: GuidanceInterval;
  readonly seed: number;
  /** Tokens of the first rows, in raster order. */
  readonly prefix: Int32Array | undefined;
  /** Whether its tokens shall become pixels. */
  readonly image: boolean;
  /** Previews on the way. */
  readonly partialImages: number;
  readonly refreshRowEnds: boolean;
  readonly surrogate: SurrogateRule;
  readonly signal: AbortSignal | undefined;
}

/** One image's part of a forward: as it was planned, answered (in query order) and committed. */
export interface CommittedStep {
  readonly plan: StepPlan;
  readonly results: readonly QueryResult[];
  readonly outcome: StepOutcome;
}

/** An image that somebody waits for. */
export interface DecodeJob {
  readonly options: ImageRequest;
  /** The image got its cache rows. */
  onStart(): void;
  onStep(state: SequenceState, step: CommittedStep): void;
  onPartialImage(pixels: Pixels, state: SequenceState): void;
  /** The worker was lost while it held this image; decoding goes on in another one. */
  onWorkerLost(reason: ZiparError): void;
  /** Another worker holds the image again; so many forwards, shared with other images, rebuilt its K/V. */
  onWorkerRestored(forwardCount: number): void;
  onDone(state: SequenceState, pixels: Pixels | undefined): void;
  onError(error: unknown): void;
}

/** An image from the moment it is asked for until it leaves the loop. */
export interface Image {
  readonly job: DecodeJob;
  /** Cache rows that it takes. */
  readonly branchCount: number;
  /** How far it is decoded; undefined until its prompt has been encoded once. */
  state: SequenceState | undefined;
  /** Workers that were lost in a row over the same work of this image. */
  lossCount: number;
  /** Whether the loop is done with it: its grid is full, it failed, or it was cancelled. */
  hasLeft: boolean;
}

/** An image that holds cache rows in the worker. */
export interface LiveImage {
  readonly image: Image;
  readonly sequence: number;
  readonly cacheRows: readonly number[];
  /** The image's state, which it has while it is live. */
  readonly state: SequenceState;
  /** Whether a forward left branches out, whose K/V are missing since. */
  lacksBranches: boolean;
}

export function isCancelled({ job }: Image): boolean {
  return job.options.signal?.aborted === true;
}

export function imageOf({ image }: LiveImage): Image {
  return image;
}

/** Whether a forward is still wanted of it. */
export function isPresent({ image }: LiveImage): boolean {
  return !image.hasLeft && !isCancelled(image);
}

/** The error with what was decoded before it, as `details.decoded`: rows of tokens, -1 where there is none. */
export function withDecoded(error: unknown, state: SequenceState | undefined): unknown {
  if (!ZiparError.is(error) || state === undefined) return error;
  const { rows, columns } = state.grid;
  const decoded = Array.from({ length: rows }, (_, row) =>
    Array.from({ length: columns }, (_, column) =>
      column < decodedIn(state, row) ? (state.tokens[row * columns + column] as number) : -1,
    ),
  );
  return withDetails(error, { decoded });
}
