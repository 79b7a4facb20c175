import type { GeneratedImage } from "../api/image.ts";
import { traceLineEvents } from "./generation-events.ts";
import { encodeImage, type PictureForm } from "./image-data.ts";
import type { ImageRequest } from "./image-request.ts";
import type { StreamKind } from "./stream-run.ts";

/** zipar's own events: docs/server.md has their schema. Those of a step come from the lines of its trace. */
export function ownStream({ format, compression, metadata }: ImageRequest): StreamKind {
  const picture = async (image: GeneratedImage, form: PictureForm) => ({
    format,
    width: image.width,
    height: image.height,
    b64_json: (await encodeImage(image, form)).toString("base64"),
  });
  return {
    watch: (events) => ({
      trace: traceLineEvents((event) =>
        events.send(event.type, event, event.type === "step" ? event.forward : 0),
      ),
      async onEvent(event) {
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
    async finish(events, { seed, tokens, stats, adaptive, image }) {
      const finished = await picture(image, { format, compression, metadata });
      events.send("image", { type: "image", seed, ...finished, tokens, stats, adaptive });
    },
  };
}
