import type { DecodeLoop } from "../decode/loop.ts";
import type { RowCost } from "../decode/row-costs.ts";
import type { WorkerStats } from "../decode/worker.ts";

/** One of an engine's workers. */
export interface WorkerStatus {
  /** e.g. "cpu", "cuda:1 NVIDIA H100". */
  readonly device: string;
  /** Of the newest process in this place; undefined where there is none on this machine. */
  readonly pid: number | undefined;
  /** leaving: it was asked to, and finishes what it holds. lost: another one takes its place. gone: it could not be replaced. */
  readonly state: "ready" | "leaving" | "lost" | "gone";
  /** Images that it holds. */
  readonly images: number;
  /** How often another worker has taken this place. */
  readonly restarts: number;
  /** What its forwards have taken lately, by their rows (queries x branches). */
  readonly rowCosts: readonly RowCost[];
}

/** What a decode loop's worker is and does at the moment. */
export function statusOf({ supervisor, state, imageCount, rowCosts }: DecodeLoop): WorkerStatus {
  const { worker, restartCount } = supervisor;
  return {
    device: worker.device,
    pid: worker.pid,
    state,
    images: imageCount,
    restarts: restartCount,
    rowCosts,
  };
}

/** What several workers have done, together. */
export function sumOf(stats: readonly WorkerStats[]): WorkerStats {
  return stats.reduce((a, b) => ({
    forwardCount: a.forwardCount + b.forwardCount,
    forwardMs: a.forwardMs + b.forwardMs,
    residentBytes: a.residentBytes + b.residentBytes,
    deviceBytes: a.deviceBytes === null || b.deviceBytes === null ? null : a.deviceBytes + b.deviceBytes,
  }));
}
