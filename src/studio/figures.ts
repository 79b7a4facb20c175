import { belowPrefix, nextTokenForwardCount, plainForwardCount, stepsToDecode } from "../schedule/grid.ts";
import { prefixCount } from "../server/generation-events.ts";
import type { Decoding } from "./decoding.ts";
import type { StartEvent } from "./events.ts";

/** The last forwards, over which speed is taken: the first one holds the encoding of the prompt. */
const SPEED_FORWARDS = 24;
/** Before so many nothing is said of the time that is left. */
const FIRST_FORWARDS = 4;

export interface Figures {
  readonly forward: number;
  readonly decodedCount: number;
  readonly cellCount: number;
  /** Of next-token order, for the whole picture. */
  readonly nextTokenForwards: number;
  /** Of next-token order, for the cells that are decoded by then. */
  readonly nextTokenForward: number;
  readonly forwardsPerSecond: number | undefined;
  /** Only while it is decoded. */
  readonly leftMs: number | undefined;
  readonly elapsedMs: number;
  readonly guessesFed: number;
  readonly guessesHeld: number;
}

/** Figures of a picture once `forward` forwards have run; undefined before it has begun. */
export function figuresAt(decoding: Decoding, forward: number): Figures | undefined {
  const { start, steps, phase } = decoding;
  if (start === undefined) return undefined;
  const step = steps[forward - 1];
  const { grid, prefix = [] } = start;
  const cellCount = grid.rows * grid.columns;
  const givenCount = prefixCount(start);
  const decodedCount = step?.decodedCount ?? givenCount;
  const nextTokenForwards = nextTokenForwardCount(belowPrefix(grid, prefix.length));
  const perSecond = speedAt(decoding, forward);
  const isRunning = phase === "decoding" && forward === steps.length;
  let [guessesFed, guessesHeld] = [0, 0];
  for (const { guesses } of steps.slice(0, forward)) {
    guessesFed += guesses.fedCount;
    guessesHeld += guesses.heldCount;
  }
  return {
    forward,
    decodedCount,
    cellCount,
    nextTokenForwards,
    nextTokenForward: Math.round(
      ((decodedCount - givenCount) / (cellCount - givenCount)) * nextTokenForwards,
    ),
    forwardsPerSecond: perSecond,
    leftMs:
      isRunning && perSecond !== undefined && forward >= FIRST_FORWARDS
        ? (forwardsLeft(start, forward, decodedCount) / perSecond) * 1000
        : undefined,
    elapsedMs: step?.atMs ?? 0,
    guessesFed,
    guessesHeld,
  };
}

/** Forwards per second of the newest forwards; undefined before the second one. */
function speedAt({ steps }: Decoding, forward: number): number | undefined {
  const last = steps[forward - 1];
  const first = steps[Math.max(0, forward - 1 - SPEED_FORWARDS)];
  if (last === undefined || first === undefined || last.atMs <= first.atMs) return undefined;
  return ((last.forward - first.forward) / (last.atMs - first.atMs)) * 1000;
}

/** As many as the steps of plain decoding that are left, at the rate at which forwards have taken such steps until now. */
function forwardsLeft(
  { grid, window, prefix = [] }: StartEvent,
  forward: number,
  decodedCount: number,
): number {
  const size = Math.min(grid.columns, window.kind === "adaptive" ? window.min : window.size);
  const done = stepsToDecode(grid, size, decodedCount, prefix.length);
  const stepCount = Math.max(1, done - prefix.length * size);
  return (plainForwardCount(grid, size) - done) * (forward / stepCount);
}
