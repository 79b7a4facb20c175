import type { ImageSet, Observed, Phase, Row, Signal, Verdict } from "./types.ts";

/** Of the images without any fault. */
export type Digests = Readonly<Record<ImageSet, readonly string[]>>;

export interface VerdictOptions {
  readonly digests: Digests;
  /** By which the bounds are multiplied, for a machine that has other work. */
  readonly slack: number;
}

/**
 * What a row's observation amounts to, and why it is not what the table expects, where it is not.
 */
export function verdictOf(
  { expected, faults, images, phase }: Row,
  observed: Observed,
  { digests, slack }: VerdictOptions,
): Verdict {
  const ends = endingOf(observed, digests[images]);
  const notice: Notice = ends === "equal" ? {} : noticeOf(observed, phase);
  const complaints: string[] = [];
  if (ends !== expected.ends) complaints.push(`expected "${expected.ends}"`);
  if (expected.signal !== undefined && notice.signal !== expected.signal)
    complaints.push(`expected to be noticed by ${expected.signal}`);
  const withinMs = slack * (expected.withinMs ?? Number.POSITIVE_INFINITY);
  if (notice.noticedMs !== undefined && notice.noticedMs > withinMs)
    complaints.push(`expected to be noticed within ${withinMs} ms`);
  const missing = faults.filter(({ fault }) => !observed.strikes.some((strike) => strike.fault === fault));
  for (const { fault } of missing) complaints.push(`${fault} did not strike`);
  if (observed.processes.length > 0) complaints.push(`left ${observed.processes.length} processes`);
  if (observed.directories.length > 0) complaints.push(`left ${observed.directories.join(", ")}`);
  return { ends, ...notice, complaints };
}

type Notice = Pick<Verdict, "noticedMs" | "signal">;

function endingOf({ lost, outcomes, restartCount, notices }: Observed, expected: readonly string[]): string {
  if (lost !== undefined) return lost;
  const failed = outcomes.find((outcome) => "code" in outcome);
  if (failed !== undefined) return `error ${failed.code}`;
  if (
    outcomes.some((outcome, k) => !("digest" in outcome) || outcome.digest !== expected[k % expected.length])
  )
    return "DIFFERENT";
  // Of several workers the others may have finished everything before the lost one was replaced.
  const wasLost = notices.some(({ message }) => message.startsWith("worker lost"));
  if (wasLost) return "replayed equal";
  return restartCount > 0 ? "returned equal" : "equal";
}

/**
 * When and by what a strike was noticed: by the engine's log, or by the error that the caller got. Where another fault
 * led to the row's phase, it is the one in that phase that counts. For an idle worker the time runs from the next
 * request, if nothing was noticed before.
 */
function noticeOf({ strikes, notices, outcomes }: Observed, phase: Phase): Notice {
  const struck = strikes.find(({ at }) => at === phase) ?? strikes[0];
  if (struck === undefined) return {};
  const said = [...notices, ...outcomes.filter((outcome) => "code" in outcome)];
  const first = said.find(({ time }) => time >= Math.floor(struck.time)) ?? said[0];
  if (first === undefined) return {};
  const from = Math.max(struck.time, Math.min(first.time, outcomes[0]?.askedAt ?? 0));
  return { noticedMs: Math.max(0, Math.round(first.time - from)), signal: signalOf(first.message) };
}

const SIGNALS: readonly (readonly [Signal, RegExp])[] = [
  ["exit", /it was ended by|it ended with exit code/],
  ["heartbeat", /the connection to the worker broke/],
  ["deadline", /came no further|said nothing for/],
  ["fatal", /device-side assert|cannot go on/],
  ["protocol", /the worker sent/],
];

function signalOf(message: string): Signal | undefined {
  return SIGNALS.find(([, pattern]) => pattern.test(message))?.[0];
}
