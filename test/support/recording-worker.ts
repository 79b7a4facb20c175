import type { Backend, WorkerSource } from "../../src/decode/backend.ts";
import type { Forwarder, ForwardStep } from "../../src/decode/worker.ts";
import { ZiparError } from "../../src/errors.ts";
import { type StubOptions, stubWorker } from "../../src/stub/source.ts";

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
}

export function loss(message = "the worker is gone"): ZiparError {
  return new ZiparError({ code: "worker-died", message, details: { output: "last words" } });
}

export function recordingWorker(options: StubOptions): RecordingWorker {
  const stub = stubWorker(options);
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
  };
  return recording;
}

function record(backend: Backend, recording: RecordingWorker): Backend {
  const { forwarder } = backend;
  let failure: ZiparError | undefined;
  recording.lose = (reason = loss()) => {
    failure ??= reason;
  };
  const alive = () => {
    if (failure !== undefined) throw failure;
  };
  const recorded: Forwarder = {
    cacheRowCount: forwarder.cacheRowCount,
    codeCount: forwarder.codeCount,
    branchCount: forwarder.branchCount,
    encodePrompt: async (prompt) => {
      recording.prompts.push(prompt.sequence);
      if (prompt.conditioning.type === "class")
        recording.classes.set(prompt.sequence, prompt.conditioning.classIndex);
      await recording.beforeRequest("prompt");
      alive();
      return forwarder.encodePrompt(prompt);
    },
    forward: async (steps: readonly ForwardStep[]) => {
      const index = recording.batches.push(steps.map(({ sequence }) => sequence)) - 1;
      await recording.beforeForward(index);
      alive();
      return forwarder.forward(steps);
    },
    stats: () => forwarder.stats(),
    decodeImage: async (codes, rows, columns) => {
      await recording.beforeRequest("picture");
      alive();
      return forwarder.decodeImage(codes, rows, columns);
    },
    profile: (...image) => forwarder.profile(...image),
    release: (sequences) => {
      recording.released.push(...sequences);
      return forwarder.release(sequences);
    },
  };
  return {
    ...backend,
    forwarder: recorded,
    failure: () => failure,
    stop: async () => {
      recording.stopCount++;
      await backend.stop();
    },
  };
}
