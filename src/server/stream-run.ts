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
 * The one image of a run as events. A client that hangs up cancels it; the run ends when the last event is delivered.
 * @throws ZiparError `invalid-options`, before anything is sent
 */
export function streamRun(
  context: ServerContext,
  run: ImageRun,
  request: ImageRequest,
  kind: StreamKind,
): Response {
  const events = eventStream(context.options.deliveryTimeoutMs, (isComplete) => {
    if (!isComplete) run.signal.hangUp();
    run.end();
  });
  try {
    startImage(context, run, request, 0, kind.watch(events))
      .then((result) => kind.finish(events, result))
      .catch((error: unknown) =>
        events.send("error", { type: "error", ...errorBody(reportError(error, context.options.logger)) }),
      )
      .finally(events.end);
  } catch (error) {
    events.end();
    throw error;
  }
  return events.response;
}
