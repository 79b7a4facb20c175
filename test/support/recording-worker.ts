import type { Worker } from "../../src/decode/worker.ts";
import type { WorkerSource } from "../../src/decode/worker-source.ts";
import { ZiparError } from "../../src/errors.ts";
import type { StubOptions } from "../../src/stub/options.ts";
import { stubWorker } from "../../src/stub/source.ts";

/** The stub worker with its calls written down, and a hook before every forward. */
export interface RecordingWorker {
  readonly source: WorkerSource;
  /** Per forward: the sequences that shared it. */
  readonly batches: (readonly number[])[];
  readonly prompts: number[];
  /** Class of every sequence whose prompt was encoded. */
  readonly classes: Map<number, number>;
  readonly released: number[];
  stopCount: number;
  /** How often it was opened. */
  startCount: number;
  /** Awaited before every forward; may throw in its place. */
  beforeForward: (index: number) => Promise<void> | void;
  /** The same before every other request, by its kind. */
  beforeRequest: (kind: "prompt" | "picture") => Promise<void> | void;
  /** Awaited before every start after the first; may throw in its place. */
  beforeRestart: (signal: AbortSignal | undefined) => Promise<void> | void;
  /** The worker that runs is gone: this and every later request to it fails. */
  lose(reason?: ZiparError): void;
  /** The worker that runs wants to leave. */
  leave(): void;
}

export function loss(message = "the worker is gone"): ZiparError {
  return new ZiparError({ code: "worker-died", message, details: { output: "last words" } });
}

export function recordingWorker(
  options: StubOptions,
  stub: WorkerSource = stubWorker(options),
): RecordingWorker {
  const recording: RecordingWorker = {
    source: {
      open: async (engine) => {
        if (++recording.startCount > 1) await recording.beforeRestart(engine.signal);
        return record(await stub.open(engine), recording);
      },
    },
    batches: [],
    prompts: [],
    classes: new Map(),
    released: [],
    stopCount: 0,
    startCount: 0,
    beforeForward: () => {},
    beforeRequest: () => {},
    beforeRestart: () => {},
    lose: () => {},
    leave: () => {},
  };
  return recording;
}

/** The worker, with these calls in the place of its own. */
function record(worker: Worker, recording: RecordingWorker): Worker {
  let failure: ZiparError | undefined;
  recording.lose = (reason = loss()) => {
    failure ??= reason;
  };
  let isLeaving = false;
  recording.leave = () => {
    isLeaving = true;
  };
  Object.defineProperty(worker, "isLeaving", { get: () => isLeaving });
  const alive = () => {
    if (failure !== undefined) throw failure;
  };
  const own = {
    encodePrompt: worker.encodePrompt.bind(worker),
    forward: worker.forward.bind(worker),
    decodeImage: worker.decodeImage.bind(worker),
    release: worker.release.bind(worker),
    stop: worker.stop.bind(worker),
  };
  return Object.assign(worker, {
    failure: () => failure,
    encodePrompt: async (prompt) => {
      recording.prompts.push(prompt.sequence);
      if (prompt.conditioning.type === "class")
        recording.classes.set(prompt.sequence, prompt.conditioning.classIndex);
      await recording.beforeRequest("prompt");
      alive();
      return own.encodePrompt(prompt);
    },
    forward: async (steps) => {
      const index = recording.batches.push(steps.map(({ sequence }) => sequence)) - 1;
      await recording.beforeForward(index);
      alive();
      return own.forward(steps);
    },
    decodeImage: async (codes, rows, columns) => {
      await recording.beforeRequest("picture");
      alive();
      return own.decodeImage(codes, rows, columns);
    },
    release: (sequences) => {
      recording.released.push(...sequences);
      return own.release(sequences);
    },
    stop: async () => {
      recording.stopCount++;
      await own.stop();
    },
  } satisfies Partial<Worker>);
}
