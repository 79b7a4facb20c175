import type { GenerationResult } from "../api/generation.ts";
import { errorBody, reportError } from "./api-error.ts";
import type { ServerContext } from "./context.ts";
import { type EventStream, eventStream } from "./event-stream.ts";
import type { ImageRequest } from "./image-request.ts";
import { type ImageRun, type ImageWatch, startImage } from "./image-run.ts";

/** What a kind of stream sends. */
export interface StreamKind {
  watch(events: EventStream): ImageWatch;
  finish(events: EventStream, result: GenerationResult): Promise<void>;
}

/**
 * The one image of a run as events.
 * @throws ZiparError `invalid-options`, before anything is sent
 */
export function streamRun(
  context: ServerContext,
  run: ImageRun,
  request: ImageRequest,
  kind: StreamKind,
): Response {
  return streamEvents(context, run, (events) =>
    startImage(context, run, request, 0, kind.watch(events)).then((result) => kind.finish(events, result)),
  );
}

/**
 * What `work` sends until it ends, or fails: a failure is the last event. A client that hangs up cancels it; `run` ends when
 * the last event is delivered.
 */
export function streamEvents(
  { options }: ServerContext,
  run: Pick<ImageRun, "signal" | "end">,
  work: (events: EventStream) => Promise<void>,
): Response {
  const events = eventStream(options.deliveryTimeoutMs, (isComplete) => {
    if (!isComplete) run.signal.hangUp();
    run.end();
  });
  try {
    work(events)
      .catch((error: unknown) =>
        events.send("error", { type: "error", ...errorBody(reportError(error, options.logger)) }),
      )
      .finally(events.end);
  } catch (error) {
    events.end();
    throw error;
  }
  return events.response;
}
