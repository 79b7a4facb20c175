import { ZiparError } from "../errors.ts";
import { ALWAYS_GUIDED } from "../schedule/guidance-interval.ts";
import { randomKey } from "../schedule/random.ts";
import { type SequenceState, startSequence } from "../schedule/sequence-state.ts";
import type { Image, ImageRequest, LiveImage } from "./image.ts";
import type { Worker } from "./worker.ts";

/** Lets a worker hold the prompt of an image that got cache rows: a new one, or one that a lost worker held. */
export async function holdPrompt(
  worker: Worker,
  image: Image,
  sequence: number,
  cacheRows: readonly number[],
): Promise<LiveImage> {
  const { grid, conditioning } = image.job.options;
  const { rows, columns } = grid;
  const { promptLength } = await worker.encodePrompt({ sequence, cacheRows, rows, columns, conditioning });
  image.state ??= startState(image.job.options, promptLength, worker.card.codeCount, cacheRows.length > 1);
  const { state } = image;
  if (state.promptLength !== promptLength) throw otherPrompt(state.promptLength, promptLength);
  return { image, sequence, cacheRows, state, lacksBranches: false };
}

function startState(
  { grid, window, seed, prefix, refreshRowEnds, surrogate, guidanceInterval }: ImageRequest,
  promptLength: number,
  codeCount: number,
  hasGuidance: boolean,
): SequenceState {
  return startSequence({
    grid,
    promptLength,
    codeCount,
    window,
    ...(prefix === undefined ? {} : { prefix }),
    refreshRowEnds,
    surrogate,
    guidanceInterval: hasGuidance ? guidanceInterval : ALWAYS_GUIDED,
    key: randomKey(seed),
  });
}

function otherPrompt(expected: number, received: number): ZiparError {
  return new ZiparError({
    code: "internal",
    message:
      `a new worker encodes the same prompt to ${received} positions, the lost one to ${expected}; ` +
      "the checkpoint has changed on disk: start another engine",
  });
}
