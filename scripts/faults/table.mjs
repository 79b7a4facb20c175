/**
 * The table of the faults: every fault in every phase in which it can strike, and what must come of it.
 * An expectation is judged in `judge.mjs`; what the table does not explain makes the command fail.
 */
import { DEMO_ENGINE, QUICK_ENGINE } from "./quick-engine.mjs";

/** The images finish with their fault-free tokens and pixels, and the worker is not replaced. */
const untouched = { ends: "equal" };
/** The same, by a new worker that carries on where the last one was. */
const replayed = (signal) => ({ ends: "replayed equal", signal, withinMs: BOUNDS[signal] });
const fails = (code, signal) => ({ ends: `error ${code}`, signal, withinMs: BOUNDS[signal] });

/** Within how many ms a loss is noticed, by signal. Deadlines are those of `quick-engine.mjs`, not the defaults. */
const BOUNDS = { exit: 1_000, heartbeat: 1_000, fatal: 1_000, protocol: 1_000, deadline: 10_000 };

/** In these phases no engine exists yet: `createEngine` rejects, and there is nothing to replay. */
const BEFORE_READY = ["start", "load"];
const FORWARDS = ["prefill", "decode", "rebuild"];
const REQUESTS = ["encode-prompt", ...FORWARDS, "decode-image"];
const EVERYWHERE = [...BEFORE_READY, ...REQUESTS, "idle"];

const loss = (signal, code, at) => ({
  at,
  ends: (phase) => (BEFORE_READY.includes(phase) ? fails(code, signal) : replayed(signal)),
});
/** The replies of a phase break the protocol. */
const breach = (at) => loss("protocol", "protocol", at);
/** A worker that is slow or loud, and all right. */
const nuisance = (at) => ({ at, ends: (phase) => (phase === "rebuild" ? replayed("exit") : untouched) });

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
};

/** What the demo checkpoint adds to the stub: PyTorch is imported, weights are read, forwards take their time. */
const ON_DEMO = {
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

const QUICK = {
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

export function fullTable() {
  return numbered([
    ...matrix("stub", (fault, phase) => FAULTS[fault].at.includes(phase)),
    ...scenarios(),
    ...matrix("demo", (fault, phase) => ON_DEMO[fault]?.includes(phase)),
  ]);
}

/** A cross-section for `npm test`. */
export function quickTable() {
  return numbered(
    matrix("stub", (fault, phase) => QUICK[fault]?.includes(phase)).filter(({ images }) => images === "many"),
  );
}

/** The runs that all others are compared with. */
export function faultFree(workers) {
  const row = { name: "none", phase: "decode", faults: [] };
  return numbered(workers.flatMap((worker) => ["one", "many"].map((images) => ({ ...row, worker, images }))));
}

function matrix(worker, includes) {
  return Object.entries(FAULTS)
    .filter(([, { workers = ["stub", "demo"] }]) => workers.includes(worker))
    .flatMap(([fault, { at }]) => at.filter((phase) => includes(fault, phase)).map((phase) => [fault, phase]))
    .flatMap(([fault, phase]) =>
      ["one", "many"].map((images) => ({
        worker,
        name: fault,
        phase,
        images,
        faults: planOf(fault, phase, images),
        expected: FAULTS[fault].ends(phase, images),
      })),
    );
}

/** Faults of several incarnations, and faults that come again. */
function scenarios() {
  const death = { fault: "die", at: "decode", nth: 5 };
  const second = (fault, at, nth = 1) => ({ fault, at, nth, firstIncarnation: 2, lastIncarnation: 2 });
  const cases = [
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

function numbered(rows) {
  return rows.map((row, id) => ({
    id,
    limitMs: row.worker === "stub" ? 30_000 : 90_000,
    engine: row.worker === "stub" ? QUICK_ENGINE : DEMO_ENGINE,
    ...row,
  }));
}

function planOf(fault, phase, images) {
  // Slow work takes longer than work that makes no progress may; before the hello there is no progress to be seen.
  const ms = fault === "slow" && phase !== "start" ? 2_500 : 500;
  const planned = { fault, at: phase, nth: occurrenceOf(phase, images), ms };
  if (phase !== "rebuild") return [planned];
  return [
    { fault: "die", at: "decode", nth: 5 },
    { ...planned, firstIncarnation: 2, lastIncarnation: 2 },
  ];
}

function occurrenceOf(phase, images) {
  if (phase === "decode") return 5;
  if (phase === "decode-image") return 2; // the first is a preview
  // Among many images, the second meets some that are decoding and some that begin.
  return images === "many" && (phase === "encode-prompt" || phase === "prefill") ? 2 : 1;
}
