import type { WorkerSource } from "../../src/decode/worker-source.ts";
import type { StubOptions } from "../../src/stub/options.ts";
import { type RecordingWorker, recordingWorker } from "./recording-worker.ts";

/** Recording workers behind one source, one for each of `devices`. */
export interface RecordingTeam {
  readonly source: WorkerSource;
  readonly devices: readonly string[];
  readonly workers: readonly RecordingWorker[];
}

export function recordingTeam(options: StubOptions, count: number): RecordingTeam {
  const devices = Array.from({ length: count }, (_, k) => `cuda:${k}`);
  const workers = devices.map(() => recordingWorker(options));
  const open: WorkerSource["open"] = (opened) =>
    (workers[devices.indexOf(opened.device)] as RecordingWorker).source.open(opened);
  return { source: { open }, devices, workers };
}
