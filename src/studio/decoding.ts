import type { Failure, StartEvent, StepEvent, StudioEvent } from "./events.ts";

/** One picture as far as it is known: what its events have told. */
export interface Decoding {
  readonly phase: "waiting" | "decoding" | "recovering" | "finished" | "failed" | "cancelled";
  readonly start: StartEvent | undefined;
  /** Step `k` is forward `k + 1`. */
  readonly steps: readonly StepEvent[];
  /** By cell in raster order: the forward, from 1, that decoded it; 0: none yet. */
  readonly forwardOf: Int32Array;
  /** Workers that were lost, by the last forward before. */
  readonly losses: readonly { readonly forward: number; readonly code: string }[];
  readonly failure: Failure | undefined;
}

export const NOTHING_DECODED: Decoding = {
  phase: "waiting",
  start: undefined,
  steps: [],
  forwardOf: new Int32Array(0),
  losses: [],
  failure: undefined,
};

const CUT_OFF: Failure = {
  code: "cut_off",
  message: "The connection to the server ended before the picture was finished. Is it still running?",
};

/** Events after the last one change nothing, and none changes pixels. */
export function reduceDecoding(decoding: Decoding, event: StudioEvent): Decoding {
  if (isOver(decoding)) return decoding;
  switch (event.type) {
    case "start":
      return {
        ...decoding,
        phase: "decoding",
        start: event,
        forwardOf: new Int32Array(event.grid.rows * event.grid.columns),
      };
    case "step":
      return withStep(decoding, event);
    case "worker-lost": {
      const loss = { forward: decoding.steps.length, code: event.code };
      return { ...decoding, phase: "recovering", losses: [...decoding.losses, loss] };
    }
    case "worker-restored":
      return { ...decoding, phase: decoding.start === undefined ? "waiting" : "decoding" };
    case "image":
      return { ...decoding, phase: "finished" };
    case "error":
      return { ...decoding, phase: "failed", failure: event.error };
    case "cut-off":
      return { ...decoding, phase: "failed", failure: CUT_OFF };
    case "cancelled":
      return { ...decoding, phase: "cancelled" };
  }
  return decoding; // pixels are the page's
}

export function isOver({ phase }: Decoding): boolean {
  return phase === "finished" || phase === "failed" || phase === "cancelled";
}

/** A run that was recorded: nothing comes any more. */
export function recordedDecoding(events: readonly StudioEvent[]): Decoding {
  return { ...events.reduce(reduceDecoding, NOTHING_DECODED), phase: "finished" };
}

function withStep(decoding: Decoding, step: StepEvent): Decoding {
  const { start, steps, forwardOf } = decoding;
  if (start === undefined) return decoding;
  const decoded = forwardOf.slice();
  for (const { row, column } of step.cells) decoded[row * start.grid.columns + column] = step.forward;
  return { ...decoding, phase: "decoding", steps: [...steps, step], forwardOf: decoded };
}
