import type { GenerationEvent, GenerationResult } from "../api/generation.ts";
import type { GeneratedImage } from "../api/image.ts";
import type { EventStream } from "./event-stream.ts";
import { traceLineEvents } from "./generation-events.ts";
import { encodeImage, type PictureForm } from "./image-data.ts";
import type { StreamKind } from "./stream-run.ts";

/** What the last event tells. */
export type FinishedImage = Pick<GenerationResult, "seed" | "tokens" | "stats" | "adaptive" | "image">;

/** zipar's own events: docs/server.md has their schema. Those of a step come from the lines of its trace. */
export function ownStream({ format, compression, metadata = false }: PictureForm) {
  const picture = async (image: GeneratedImage, form: PictureForm) => ({
    format,
    width: image.width,
    height: image.height,
    b64_json: (await encodeImage(image, form)).toString("base64"),
  });
  return {
    watch: (events: EventStream) => ({
      trace: traceLineEvents((event) =>
        events.send(event.type, event, event.type === "step" ? event.forward : 0),
      ),
      async onEvent(event: GenerationEvent) {
        const { type } = event;
        if (type === "partial-image" && !events.isBehind)
          events.send(type, {
            type,
            forward: event.forward,
            ...(await picture(event.image, { format, compression })),
          });
        if (type === "worker-lost") events.send(type, { type, code: event.reason.code });
        if (type === "worker-restored") events.send(type, event);
      },
    }),
    async finish(events: EventStream, { seed, tokens, stats, adaptive, image }: FinishedImage) {
      const finished = await picture(image, { format, compression, metadata });
      events.send("image", { type: "image", seed, ...finished, tokens, stats, adaptive });
    },
  } satisfies StreamKind;
}
