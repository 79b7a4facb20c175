import { runInLanes } from "./lanes.ts";
import { DEMO_ENGINE, QUICK_ENGINE } from "./quick-engine.ts";
import { type Random, randomOf } from "./random.ts";
import type { Observed, Outcome, Phase, PlannedFault, SoakPlan, SoakRequest, WorkerKind } from "./types.ts";

const LIMIT_MS = 120_000;
/** Workers that an engine of the soak may lose before its plan ends. */
const INCARNATIONS = 8;
const REQUESTS = 16;

/** Faults that the images must survive, and the phases in which a worker that makes progress may meet them. */
const PROCESS = [
  "die",
  "segfault",
  "exit",
  "stop",
  "hang",
  "device-assert",
  "out-of-memory",
  "slow",
  "flood",
];
const REPLY = ["corrupt-header", "wrong-request", "duplicate-reply", "wrong-epoch", "late-reply"];
const FRAMES = [
  "corrupt-frame",
  "truncate-frame",
  "wrong-dtype",
  "wrong-shape",
  "reshape",
  "nan-probabilities",
];
const BEFORE_PROGRESS: readonly Phase[] = ["start", "load", "encode-prompt", "rebuild"];

export interface Tally {
  seconds: number;
  streams: number;
  images: number;
  equal: number;
  cancelled: number;
  readonly wrong: {
    readonly seed: number;
    readonly what: string | undefined;
    readonly [more: string]: unknown;
  }[];
  restarts: number;
  left: number;
  readonly strikes: Record<string, number>;
}

interface SoakOptions {
  readonly worker: WorkerKind;
  /** Of each engine. */
  readonly workerCount: number;
  readonly seed: number;
  readonly laneCount: number;
  /** Called as each stream ends. */
  onStream(tally: Tally): void;
}

/** Streams under faults for so many seconds. */
export async function runSoak(
  seconds: number,
  { worker, workerCount, seed, laneCount, onStream }: SoakOptions,
): Promise<Tally> {
  const tally: Tally = {
    seconds: 0,
    streams: 0,
    images: 0,
    equal: 0,
    cancelled: 0,
    wrong: [],
    restarts: 0,
    left: 0,
    strikes: {},
  };
  const startedAt = performance.now();
  const secondsSince = () => (performance.now() - startedAt) / 1000;
  await runInLanes(plans(), {
    laneCount,
    onEnd(plan, observed) {
      tally.seconds = secondsSince();
      count_(tally, plan, observed);
      onStream(tally);
    },
  });
  return tally;

  function* plans(): Generator<SoakPlan> {
    for (let k = 0; secondsSince() < seconds; k++) yield planSoak(seed + k, worker, workerCount);
  }
}

function count_(
  tally: Tally,
  plan: SoakPlan,
  { lost, message, outcomes, expected = [], restartCount, strikes, processes, directories }: Observed,
): void {
  tally.streams += 1;
  tally.images += plan.requests.length;
  tally.restarts += restartCount;
  tally.left += processes.length + directories.length;
  for (const { fault } of strikes) tally.strikes[fault] = (tally.strikes[fault] ?? 0) + 1;
  if (outcomes.length !== plan.requests.length) {
    tally.wrong.push({ seed: plan.seed, what: lost ?? messageOf(outcomes[0]), message });
    return;
  }
  for (const [k, outcome] of outcomes.entries()) {
    const mayBeCancelled = plan.requests[k]?.cancelAtForward !== undefined;
    if ("digest" in outcome && outcome.digest === expected[k]) tally.equal += 1;
    else if ("code" in outcome && outcome.code === "cancelled" && mayBeCancelled) tally.cancelled += 1;
    else tally.wrong.push({ seed: plan.seed, request: k, what: messageOf(outcome) ?? "another image" });
  }
}

function messageOf(outcome: Outcome | undefined): string | undefined {
  return outcome !== undefined && "code" in outcome ? outcome.message : undefined;
}

export function isSound({ wrong, left }: Tally): boolean {
  return wrong.length === 0 && left === 0;
}

export function describeSoak({
  seconds,
  streams,
  images,
  equal,
  cancelled,
  wrong,
  restarts,
  left,
  strikes,
}: Tally): string {
  const faults = Object.entries(strikes).sort(([, a], [, b]) => b - a);
  const struck = faults.reduce((total, [, count]) => total + count, 0);
  return [
    `${seconds.toFixed(0)} s, ${streams} engines, ${images} images: ${equal} equal to the run without faults, ${cancelled} ` +
      `cancelled as asked, ${wrong.length} wrong`,
    `${struck} faults struck (${faults.map(([fault, count]) => `${fault} ${count}`).join(", ")})`,
    `${restarts} workers replaced; left behind: ${left} processes and directories`,
    ...wrong.map((entry) => `WRONG: ${JSON.stringify(entry)}`),
  ].join("\n");
}

/**
 * A stream of requests with random options, cancellations among them, at random times, and one fault in each of the
 * worker's first incarnations.
 */
export function planSoak(seed: number, worker: WorkerKind, workers = 1): SoakPlan {
  const random = randomOf(seed);
  return {
    seed,
    worker,
    limitMs: LIMIT_MS,
    faults: Array.from({ length: INCARNATIONS }, (_, k) => planFault(k + 1, workers, random)),
    requests: Array.from({ length: REQUESTS }, () => planRequest(random)),
    engine: {
      workers,
      maxImages: random.integer(1, 5),
      ...(worker === "stub" ? QUICK_ENGINE : DEMO_ENGINE),
      startTimeoutMs: 30_000, // several start at a time
      restarts: { max: 100, backoffMs: 0 },
    },
  };
}

/**
 * Most incarnations get somewhere before their fault strikes: an image whose same step costs three workers in a row is
 * given up, as is promised. Those that the engine begins with all do.
 */
function planFault(incarnation: number, workers: number, random: Random): PlannedFault {
  const early = incarnation % (workers + 1) === 0;
  const at: Phase = early
    ? random.pick(BEFORE_PROGRESS)
    : random.pick(["decode", "decode", "prefill", "decode-image", "idle"] as const);
  const nth = early ? 1 : random.integer(2, at === "decode" ? 40 : 4);
  const fault = random.pick(faultsAt(at));
  // An image that does not fit alone is refused, as is promised.
  const moreThan = fault === "out-of-memory" && at !== "decode-image" ? 1 : 0;
  const during = { firstIncarnation: incarnation, lastIncarnation: incarnation };
  return { fault, at, nth, ...during, ms: random.integer(10, 200), moreThan };
}

function faultsAt(phase: Phase): readonly string[] {
  switch (phase) {
    case "start":
    case "load":
      return ["die", "segfault", "exit", "corrupt-header", "slow", "flood"];
    case "encode-prompt":
      return [...PROCESS, ...REPLY];
    case "decode-image":
      return [...PROCESS, ...REPLY, "truncate-frame", "wrong-dtype", "wrong-shape", "reshape"];
    case "rebuild":
      return [...PROCESS, ...REPLY];
    case "idle":
      return ["die", "segfault", "exit", "stop", "hang", "flood", "corrupt-header", "wrong-request"];
    default:
      return [...PROCESS, ...REPLY, ...FRAMES];
  }
}

function planRequest(random: Random): SoakRequest {
  const test = random.pick(["rejection", "coupled"] as const);
  const verification = random.pick(["overlapped", "sequential"] as const);
  const adaptive = { kind: "adaptive", min: random.integer(1, 5), test, verification } as const;
  return {
    options: {
      classLabel: random.integer(0, 9),
      seed: random.integer(0, 2 ** 31),
      window: random.pick([random.integer(1, 10), "full", adaptive, adaptive] as const),
      temperature: random.pick([0, 0.7, 1, 1.3]),
      topK: random.pick([0, 0, 2, 5]),
      topP: random.pick([1, 1, 0.8]),
      guidanceScale: random.pick([1, 1.5, 3]),
      partialImages: random.pick([0, 0, 1, 3]),
    },
    afterMs: random.integer(0, 1_500),
    cancelAtForward: random.next() < 0.1 ? random.integer(1, 20) : undefined,
  };
}
