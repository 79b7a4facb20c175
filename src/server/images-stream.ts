import type { GeneratedImage } from "../api/image.ts";
import { reportImage } from "../api/image-report.ts";
import { encodeImage, type PictureForm } from "./image-data.ts";
import type { ImageRequest } from "./image-request.ts";
import type { ImageRun } from "./image-run.ts";
import { imageUsage } from "./image-usage.ts";
import type { StreamKind } from "./stream-run.ts";

/** OpenAI's events: `image_generation.partial_image`, then `image_generation.completed`. */
export function openaiStream(
  { grid }: ImageRun,
  { format, compression, metadata }: ImageRequest,
): StreamKind {
  let partialCount = 0;
  const describe = async (type: string, image: GeneratedImage, form: PictureForm) => ({
    type,
    b64_json: (await encodeImage(image, form)).toString("base64"),
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
        const preview = await describe(type, event.image, { format, compression });
        events.send(type, { ...preview, partial_image_index });
      },
    }),
    async finish(events, result) {
      const type = "image_generation.completed";
      const report = { usage: imageUsage([result]), zipar: reportImage(result) };
      const finished = await describe(type, result.image, { format, compression, metadata });
      events.send(type, { ...finished, ...report });
    },
  };
}
