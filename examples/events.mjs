/**
 * What happens while an image is decoded: progress, drafts of the adaptive window, previews.
 *
 *     node examples/events.mjs                                 # the demo checkpoint
 *     node examples/events.mjs --stub                          # a model in this process: no Python, and noise for pictures
 */
import { createEngine, stubWorker } from "zipar";

const worker = process.argv.includes("--stub") ? stubWorker({ rows: 16, columns: 16 }) : undefined;

const engine = await createEngine({ worker });
try {
  const generation = engine.generate({ classLabel: 3, window: "adaptive", partialImages: 2, seed: 7 });
  for await (const event of generation) {
    switch (event.type) {
      case "step":
        console.log(`forward ${event.forward}: ${event.decodedCount} of ${event.tokenCount} tokens`);
        break;
      case "draft-accepted":
      case "draft-rejected":
        console.log(`  ${event.type}: row ${event.row} at window ${event.window}`);
        break;
      case "partial-image":
        await event.image.save(`preview-${event.forward}.png`);
        break;
      case "image":
        await event.result.image.save("image.png");
        console.log(`image.png after ${event.result.stats.forwards} forwards`);
        break;
    }
  }
} finally {
  await engine.dispose();
}
