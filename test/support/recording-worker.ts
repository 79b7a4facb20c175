import type { Backend, WorkerSource } from "../../src/backend.ts";
import type { Forwarder, ForwardStep } from "../../src/decode.ts";
import { type StubOptions, stubWorker } from "../../src/stub/stub-worker.ts";

/** The stub worker with its calls written down, and a hook before every forward. */
export interface RecordingWorker {
  readonly source: WorkerSource;
  /** Per forward: the sequences that shared it. */
  readonly batches: (readonly number[])[];
  readonly prompts: number[];
  readonly released: number[];
  stopCount: number;
  /** Awaited before every forward; may throw in its place. */
  beforeForward: (index: number) => Promise<void> | void;
}

export function recordingWorker(options: StubOptions): RecordingWorker {
  const stub = stubWorker(options);
  const recording: RecordingWorker = {
    source: { open: async (engine) => record(await stub.open(engine), recording) },
    batches: [],
    prompts: [],
    released: [],
    stopCount: 0,
    beforeForward: () => {},
  };
  return recording;
}

function record(backend: Backend, recording: RecordingWorker): Backend {
  const { forwarder } = backend;
  const recorded: Forwarder = {
    cacheRowCount: forwarder.cacheRowCount,
    codeCount: forwarder.codeCount,
    branchCount: forwarder.branchCount,
    encodePrompt: (prompt) => {
      recording.prompts.push(prompt.sequence);
      return forwarder.encodePrompt(prompt);
    },
    forward: async (steps: readonly ForwardStep[]) => {
      const index = recording.batches.push(steps.map(({ sequence }) => sequence)) - 1;
      await recording.beforeForward(index);
      return forwarder.forward(steps);
    },
    stats: () => forwarder.stats(),
    decodeImage: (codes, rows, columns) => forwarder.decodeImage(codes, rows, columns),
    profile: (...image) => forwarder.profile(...image),
    release: (sequences) => {
      recording.released.push(...sequences);
      return forwarder.release(sequences);
    },
  };
  return {
    ...backend,
    forwarder: recorded,
    stop: async () => {
      recording.stopCount++;
      await backend.stop();
    },
  };
}
