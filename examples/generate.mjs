/**
 * One image to a file, with the demo checkpoint.
 *
 *     node examples/generate.mjs                               # lighthouse.png
 *     node examples/generate.mjs mountains mountains.webp
 */
import { createEngine } from "zipar";

const [prompt = "lighthouse", path = `${prompt}.png`] = process.argv.slice(2);

const engine = await createEngine({ model: "demo" });
try {
  const { image, seed, stats } = await engine.generate({ prompt, window: 4 });
  await image.save(path);
  console.log(`${path}: seed ${seed}, ${stats.forwards} forwards instead of ${stats.nextTokenForwards}`);
} finally {
  await engine.dispose();
}
