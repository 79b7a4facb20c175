import type { GeneratedImage } from "../api/image.ts";
import { reportImage } from "../api/image-report.ts";
import { encodeImage } from "./image-data.ts";
import type { ImageRequest } from "./image-request.ts";
import type { ImageRun } from "./image-run.ts";
import { imageUsage } from "./image-usage.ts";
import type { StreamKind } from "./stream-run.ts";

/** OpenAI's events: `image_generation.partial_image`, then `image_generation.completed`. */
export function openaiStream({ grid }: ImageRun, { format, compression }: ImageRequest): StreamKind {
  let partialCount = 0;
  const describe = async (type: string, image: GeneratedImage) => ({
    type,
    b64_json: (await encodeImage(image, format, compression)).toString("base64"),
    background: "opaque",
    created_at: Math.floor(Date.now() / 1000),
    output_format: format,
    quality: "auto",
    size: `${grid.width}x${grid.height}`,
  });
  return {
    watch: (events) => ({
      async onEvent(event) {
        if (event.type !== "partial-image" || events.isBehind) return;
        const type = "image_generation.partial_image";
        const partial_image_index = partialCount++;
        events.send(type, { ...(await describe(type, event.image)), partial_image_index });
      },
    }),
    async finish(events, result) {
      const type = "image_generation.completed";
      const report = { usage: imageUsage([result]), zipar: reportImage(result) };
      events.send(type, { ...(await describe(type, result.image)), ...report });
    },
  };
}
