/**
 * The table of the faults: every fault in every phase in which it can strike, and what must come of it.
 * What an expectation means is decided in `verdict.ts`; what the table does not explain makes the command fail.
 */
import { DEMO_ENGINE, GROUP_ENGINE, QUICK_ENGINE } from "./quick-engine.ts";
import type {
  CalmRow,
  Expectation,
  ImageSet,
  Phase,
  PlannedFault,
  RemotePlan,
  Row,
  Signal,
  WorkerKind,
} from "./types.ts";

/** The images finish with their fault-free tokens and pixels, and the worker is not replaced. */
const untouched: Expectation = { ends: "equal" };
/** The same, by a new worker that carries on where the last one was. */
const replayed = (signal: Signal): Expectation => ({
  ends: "replayed equal",
  signal,
  withinMs: BOUNDS[signal],
});
/** Finished as they would have been, with no loss; another worker has come into the place of one that left. */
const returned: Expectation = { ends: "returned equal" };
const fails = (code: string, signal?: Signal): Expectation => ({
  ends: `error ${code}`,
  signal,
  withinMs: signal && BOUNDS[signal],
});

/** Within how many ms a loss is noticed, by signal. Deadlines are those of `quick-engine.ts`, not the defaults. */
const BOUNDS: Readonly<Record<Signal, number>> = {
  exit: 1_000,
  heartbeat: 1_000,
  fatal: 1_000,
  protocol: 1_000,
  deadline: 10_000,
};

/** In these phases no engine exists yet: `createEngine` rejects, and there is nothing to replay. */
const BEFORE_READY: readonly Phase[] = ["start", "load"];
const FORWARDS: readonly Phase[] = ["prefill", "decode", "rebuild"];
const REQUESTS: readonly Phase[] = ["encode-prompt", ...FORWARDS, "decode-image"];
const IMAGE_SETS: readonly ImageSet[] = ["one", "many"];
const EVERYWHERE: readonly Phase[] = [...BEFORE_READY, ...REQUESTS, "idle"];

interface Fault {
  /** The phases in which it can strike. */
  readonly at: readonly Phase[];
  readonly workers?: readonly WorkerKind[];
  ends(phase: Phase, images: ImageSet): Expectation;
}

const loss = (signal: Signal, code: string, at: readonly Phase[]): Fault => ({
  at,
  ends: (phase) => (BEFORE_READY.includes(phase) ? fails(code, signal) : replayed(signal)),
});
/** The replies of a phase break the protocol. */
const breach = (at: readonly Phase[]) => loss("protocol", "protocol", at);
/** A worker that is slow or loud, and all right. */
const nuisance = (at: readonly Phase[]): Fault => ({
  at,
  ends: (phase) => (phase === "rebuild" ? replayed("exit") : untouched),
});

const FAULTS = {
  die: loss("exit", "worker-died", EVERYWHERE),
  segfault: loss("exit", "worker-died", EVERYWHERE),
  exit: loss("exit", "worker-died", EVERYWHERE),
  stop: {
    at: EVERYWHERE,
    ends(phase) {
      // There is no link yet that could break.
      if (phase === "start") return fails("worker-timeout", "deadline");
      return phase === "load" ? fails("worker-died", "heartbeat") : replayed("heartbeat");
    },
  },
  hang: loss("deadline", "worker-timeout", EVERYWHERE),
  // ZeroMQ's threads need no interpreter and answer the heartbeats.
  "hang-with-lock": loss("deadline", "worker-timeout", EVERYWHERE),
  "device-assert": loss("fatal", "device", ["load", ...REQUESTS]),
  "out-of-memory": {
    at: ["load", ...REQUESTS],
    ends(phase, images) {
      if (phase === "load") return fails("out-of-memory");
      if (phase === "rebuild") return replayed("exit");
      // Where an image is alone there is nothing that could be done with less.
      return images === "one" && phase !== "decode-image" ? fails("out-of-memory") : untouched;
    },
  },
  slow: nuisance([...BEFORE_READY, ...REQUESTS]),
  flood: nuisance(EVERYWHERE),
  "late-reply": nuisance([...BEFORE_READY, ...REQUESTS]),
  "corrupt-header": breach(EVERYWHERE),
  "wrong-request": breach(["load", ...REQUESTS, "idle"]),
  "duplicate-reply": {
    at: REQUESTS,
    // The last reply of all is read, and its double is not: nobody waits any more.
    ends: (phase, images) =>
      phase === "decode-image" && images === "one" ? untouched : replayed("protocol"),
  },
  // A message of another epoch is none: its request stays unanswered.
  "wrong-epoch": loss("deadline", "worker-timeout", [...BEFORE_READY, ...REQUESTS]),
  // A forward that rebuilds wants nothing: its arrays are empty.
  "corrupt-frame": breach(["prefill", "decode"]),
  "truncate-frame": breach(["prefill", "decode", "decode-image"]),
  "wrong-dtype": breach([...FORWARDS, "decode-image"]),
  "wrong-shape": breach([...FORWARDS, "decode-image"]),
  reshape: breach([...FORWARDS, "decode-image"]),
  "nan-probabilities": breach(["prefill", "decode"]),
  // The forward fails and its batch is halved to find the image at fault; alone it is found at once.
  "nan-logits": {
    at: ["prefill", "decode"],
    ends: (_, images) => (images === "one" ? fails("checkpoint") : untouched),
    workers: ["demo"],
  },
  silence: loss("deadline", "worker-timeout", ["start"]),
  "wrong-token": loss("exit", "worker-died", ["start"]), // it is turned away
  "wrong-version": { at: ["start"], ends: () => fails("protocol-version") },
} satisfies Record<string, Fault>;

type FaultName = keyof typeof FAULTS;

/** What the demo checkpoint adds to the stub: PyTorch is imported, weights are read, forwards take their time. */
const ON_DEMO: Partial<Record<FaultName, readonly Phase[]>> = {
  die: ["start", "load", "prefill", "decode", "rebuild", "decode-image", "idle"],
  stop: ["decode"],
  hang: ["load", "decode"],
  "hang-with-lock": ["decode"],
  segfault: ["decode"],
  "device-assert": ["decode", "decode-image"],
  "out-of-memory": ["load", "decode", "decode-image"],
  slow: ["load", "decode"],
  "truncate-frame": ["decode"],
  "nan-logits": ["prefill", "decode"],
};

const QUICK: Partial<Record<FaultName, readonly Phase[]>> = {
  die: EVERYWHERE,
  stop: ["decode"],
  hang: ["decode"],
  "device-assert": ["decode"],
  "out-of-memory": ["decode"],
  flood: ["decode"],
  "truncate-frame": ["decode"],
  reshape: ["decode-image"],
  "nan-probabilities": ["decode"],
  "wrong-epoch": ["decode"],
  "wrong-version": ["start"],
};

const QUICK_TEAMS: readonly string[] = [
  "die, one of three",
  "stop, one of three",
  "die, all three",
  "leave and come back, one of three",
  "split for long, one of three",
];
const QUICK_GROUPS: readonly string[] = ["die, a follower", "stop, a follower"];

export function fullTable(): readonly Row[] {
  return numbered([
    ...matrix("stub", () => true),
    ...scenarios(),
    ...teams(),
    ...remoteTeams(),
    ...groups(),
    ...matrix("demo", (fault, phase) => ON_DEMO[fault]?.includes(phase) ?? false),
  ]);
}

/** A cross-section for `npm test`. */
export function quickTable(): readonly Row[] {
  const alone = matrix("stub", (fault, phase) => QUICK[fault]?.includes(phase) ?? false);
  return numbered([
    ...alone.filter(({ images }) => images === "many"),
    ...[...teams(), ...remoteTeams()].filter(
      ({ name, phase }) => phase === "decode" && QUICK_TEAMS.includes(name),
    ),
    ...groups().filter(
      ({ name, phase, images }) => QUICK_GROUPS.includes(name) && phase === "decode" && images === "many",
    ),
  ]);
}

/** The runs that all others are compared with. */
export function faultFree(workers: readonly WorkerKind[]): readonly CalmRow[] {
  const row = { name: "none", phase: "decode", faults: [] } as const;
  return numbered(workers.flatMap((worker) => IMAGE_SETS.map((images) => ({ ...row, worker, images }))));
}

type Wanted = Omit<Row, "id" | "limitMs" | "engine"> & Partial<Pick<Row, "engine">>;

function matrix(
  worker: WorkerKind,
  includes: (fault: FaultName, phase: Phase) => boolean,
): readonly Wanted[] {
  const faults = Object.entries(FAULTS) as [FaultName, Fault][];
  return faults
    .filter(([, { workers = ["stub", "demo"] }]) => workers.includes(worker))
    .flatMap(([name, { at, ends }]) =>
      at
        .filter((phase) => includes(name, phase))
        .flatMap((phase) =>
          IMAGE_SETS.map((images) => ({
            worker,
            name,
            phase,
            images,
            faults: planOf(name, phase, images),
            expected: ends(phase, images),
          })),
        ),
    );
}

/** Faults of several incarnations, and faults that come again. */
function scenarios(): readonly Wanted[] {
  const death: PlannedFault = { fault: "die", at: "decode", nth: 5 };
  const second = (fault: string, at: Phase, nth = 1): PlannedFault => ({
    fault,
    at,
    nth,
    firstIncarnation: 2,
    lastIncarnation: 2,
  });
  const cases: readonly (readonly [string, readonly PlannedFault[], Expectation])[] = [
    ["die, again in load", [death, second("die", "load")], replayed("exit")],
    ["die, again in start", [death, second("die", "start")], replayed("exit")],
    ["die, then hang in load", [death, second("hang", "load")], replayed("exit")],
    ["die, again 3 forwards later", [death, second("die", "decode", 3)], replayed("exit")],
    ["die, every time", [{ ...death, lastIncarnation: 1_000 }], fails("worker-died", "exit")],
    ["out of memory twice", [{ fault: "out-of-memory", at: "decode", nth: 5, times: 2 }], untouched],
    // First with three images, then with two, then with one.
    [
      "out of memory 3 times",
      [{ fault: "out-of-memory", at: "decode", nth: 5, times: 3 }],
      fails("out-of-memory"),
    ],
    [
      "out of memory above 1 image",
      [{ fault: "out-of-memory", at: "decode", times: 10_000, moreThan: 1 }],
      untouched,
    ],
  ];
  return cases.map(([name, faults, expected]) => ({
    worker: "stub",
    name,
    phase: "decode",
    images: "many",
    faults,
    expected,
  }));
}

/** What strikes one of three workers, and what strikes them all: the others go on with the images at once. */
function teams(): readonly Wanted[] {
  const struck: readonly (readonly [FaultName, Phase])[] = [
    ["die", "encode-prompt"],
    ["die", "prefill"],
    ["die", "decode"],
    ["die", "decode-image"],
    ["stop", "decode"],
    ["hang", "decode"],
    ["hang-with-lock", "decode"],
    ["device-assert", "decode"],
    ["corrupt-header", "decode"],
    ["truncate-frame", "decode"],
    ["wrong-epoch", "decode"],
    ["out-of-memory", "decode"],
    ["slow", "decode"],
    ["flood", "decode"],
  ];
  const one = struck.map(([name, phase]) => ({
    name: `${name}, one of three`,
    phase,
    faults: planOf(name, phase, "one"),
    expected: FAULTS[name].ends(phase, "many"),
  }));
  const death: PlannedFault = { fault: "die", at: "decode", nth: 5 };
  const all = [
    { name: "die, all three", faults: [{ ...death, lastIncarnation: 3 }], expected: replayed("exit") },
    {
      name: "die, all three and their successors",
      faults: [{ ...death, lastIncarnation: 6 }],
      expected: replayed("exit"),
    },
    {
      name: "die, all, every time",
      faults: [{ ...death, lastIncarnation: 1_000 }],
      expected: fails("worker-died", "exit"),
    },
  ].map((row) => ({ ...row, phase: "decode" as const }));
  return [...one, ...all].map((row) => ({
    ...row,
    worker: "stub",
    images: "many",
    engine: { ...QUICK_ENGINE, workers: 3 },
  }));
}

/** What becomes of one of three workers that dialled in, and of its network. */
function remoteTeams(): readonly Wanted[] {
  const phases: readonly Phase[] = ["encode-prompt", "prefill", "decode", "decode-image"];
  const cases: readonly (readonly [string, string, readonly Phase[], RemotePlan, Expectation])[] = [
    ["leave, one of three", "leave", [...phases, "idle"], { drain: 20 }, untouched],
    ["leave at once, one of three", "leave", phases, { drain: 0.001 }, untouched],
    ["leave and come back, one of three", "leave", phases, { drain: 20, returns: true }, returned],
    ["split for a moment, one of three", "split", phases, { drain: 20, splitMs: 100 }, untouched],
    [
      "split for long, one of three",
      "split",
      phases,
      { drain: 20, splitMs: 2_000, returns: true },
      replayed("heartbeat"),
    ],
  ];
  return cases.flatMap(([name, fault, at, remote, expected]) =>
    at.map((phase) => ({
      worker: "stub",
      name,
      phase,
      images: "many",
      faults: [{ fault, at: phase, nth: phase === "decode" ? 5 : 1, ms: 100 }],
      remote,
      // Three workers more are a load: nobody shall take that for a broken link where none is expected.
      engine: { ...QUICK_ENGINE, heartbeatTimeoutMs: expected.signal === "heartbeat" ? 500 : 5_000 },
      expected,
    })),
  );
}

/** What strikes one of two processes that a model is split over: the other one ends with it. */
function groups(): readonly Wanted[] {
  const struck: readonly (readonly [FaultName, Phase])[] = [
    ["die", "load"],
    ["die", "encode-prompt"],
    ["die", "prefill"],
    ["die", "decode"],
    ["die", "rebuild"],
    ["die", "idle"],
    ["stop", "load"],
    ["stop", "decode"],
    ["stop", "rebuild"],
    ["stop", "idle"],
  ];
  /** The first process alone talks to the engine, and hears nothing of one that was stopped. */
  const hangs: Fault = loss("deadline", "worker-timeout", EVERYWHERE);
  const followers = struck.map(([fault, phase]) => ({ fault, phase, rank: 1, who: "a follower" }));
  const firsts = struck.map(([fault, phase]) => ({ fault, phase, rank: 0, who: "the first" }));
  return [...followers, ...firsts].flatMap(({ fault, phase, rank, who }) =>
    IMAGE_SETS.map((images) => {
      const planned = planOf(fault, phase, images);
      const { ends } = fault === "stop" && rank > 0 ? hangs : FAULTS[fault];
      return {
        worker: "group",
        name: `${fault}, ${who}`,
        phase,
        images,
        faults: planned.with(-1, { ...(planned.at(-1) as PlannedFault), rank }),
        expected: ends(phase, images),
      };
    }),
  );
}

const ENGINES = { stub: QUICK_ENGINE, demo: DEMO_ENGINE, group: GROUP_ENGINE } as const;

function numbered<Fields extends { readonly worker: WorkerKind }>(rows: readonly Fields[]) {
  return rows.map((row, id) => ({
    id,
    limitMs: row.worker === "stub" ? 30_000 : 90_000,
    engine: ENGINES[row.worker],
    ...row,
  }));
}

function planOf(fault: FaultName, phase: Phase, images: ImageSet): readonly PlannedFault[] {
  // Slow work takes longer than work that makes no progress may; before the hello there is no progress to be seen.
  const ms = fault === "slow" && phase !== "start" ? 2_500 : 500;
  const planned = { fault, at: phase, nth: occurrenceOf(phase, images), ms };
  if (phase !== "rebuild") return [planned];
  return [
    { fault: "die", at: "decode", nth: 5 },
    { ...planned, firstIncarnation: 2, lastIncarnation: 2 },
  ];
}

function occurrenceOf(phase: Phase, images: ImageSet): number {
  if (phase === "decode") return 5;
  if (phase === "decode-image") return 2; // the first is a preview
  // Among many images, the second meets some that are decoding and some that begin.
  return images === "many" && (phase === "encode-prompt" || phase === "prefill") ? 2 : 1;
}
