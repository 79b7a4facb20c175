import type { Context } from "hono";
import { z } from "zod";
import { ZiparError } from "../errors.ts";
import { parseOptions } from "../options/parse.ts";
import { parseTrace } from "../trace/read.ts";
import type { ServerContext } from "./context.ts";
import { ownStream } from "./generation-stream.ts";
import { OWN_PARTIAL_IMAGES } from "./images-route.ts";
import { checkPlayable, playTrace } from "./play-trace.ts";
import { readText } from "./read-json.ts";
import { requestSignal } from "./request-signal.ts";
import { streamEvents } from "./stream-run.ts";

const RETRY_SECONDS = 5;

const querySchema = z.strictObject({
  /** Times as fast as it was recorded; `max`: without waiting. */
  speed: z.union([z.literal("max"), z.coerce.number().min(0.01).max(1000)]).default(1),
  partial_images: z.coerce.number().int().min(0).max(OWN_PARTIAL_IMAGES).default(0),
});

/** `POST /zipar/replays`: a recorded trace as the events of `POST /zipar/generations`, without a model. */
export function replayRoute(): (context: ServerContext, c: Context) => Promise<Response> {
  let replayCount = 0;
  return async (context, c) => {
    const { maxTraceBytes, maxReplays, timeoutMs } = context.options;
    const { speed, partial_images: partialImages } = parseOptions(querySchema, c.req.query(), "replay");
    if (replayCount >= maxReplays) throw full(maxReplays);
    replayCount += 1;
    const signal = requestSignal(c.req.raw.signal, context.stopping, timeoutMs);
    let isRunning = true;
    const end = () => {
      if (isRunning) replayCount -= 1;
      isRunning = false;
      signal.clear();
    };
    try {
      const text = await readText(c.req.raw, maxTraceBytes, "application/x-ndjson");
      const lines = text.replace(/\r?\n$/, "").split(/\r?\n/);
      const trace = await parseTrace(lines, "the trace");
      checkPlayable(trace);
      const kind = ownStream({ format: "png" });
      return streamEvents(context, { signal, end }, (events) => {
        const { trace: tell, onEvent } = kind.watch(events);
        const play = playTrace(trace, lines, { speed, partialImages, signal: signal.signal }, tell, onEvent);
        return play.then((image) => kind.finish(events, image));
      });
    } catch (error) {
      end();
      throw error;
    }
  };
}

function full(maxReplays: number): ZiparError {
  return new ZiparError({
    code: "queue-full",
    message: `${maxReplays} traces are replayed already, as many as this server takes at a time; try again in ${RETRY_SECONDS} s`,
    details: { retryAfterSeconds: RETRY_SECONDS },
  });
}
