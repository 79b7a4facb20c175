/**
 * Several images at once: they share forwards, and each can be cancelled alone. Ctrl-C cancels what is still running.
 *
 *     node examples/batch.mjs                                  # the demo checkpoint
 *     node examples/batch.mjs --stub                           # a model in this process: no Python, and noise for pictures
 */
import { createEngine, stubWorker, ZiparError } from "zipar";

const worker = process.argv.includes("--stub") ? stubWorker({ rows: 16, columns: 16 }) : undefined;
const images = [0, 1, 2, 3, 4].map((classLabel) => ({ classLabel, abort: new AbortController() }));
process.once("SIGINT", () => {
  for (const { abort } of images) abort.abort();
});

const engine = await createEngine({ worker, maxImages: 4 }); // the fifth waits for a place
try {
  const finished = Promise.all(images.map(draw));
  images[2]?.abort.abort(); // not wanted after all; the others do not notice
  await finished;
} finally {
  await engine.dispose();
}

/** @param {typeof images[number]} image */
async function draw({ classLabel, abort }) {
  const path = `class-${classLabel}.png`;
  const generation = engine.generate({ classLabel, window: 4, seed: classLabel, signal: abort.signal });
  try {
    for await (const event of generation) {
      if (event.type === "step") console.log(`${path}: ${event.decodedCount} of ${event.tokenCount} tokens`);
      else if (event.type === "image") await event.result.image.save(path);
    }
  } catch (error) {
    if (!ZiparError.is(error) || error.code !== "cancelled") throw error;
    console.log(`${path}: cancelled`);
  }
}
