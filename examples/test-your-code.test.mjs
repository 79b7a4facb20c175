/**
 * Testing code that uses zipar, without Python and without a model: the stub's images are noise, but the same noise for the
 * same request.
 *
 *     node --test examples/test-your-code.test.mjs
 */
import assert from "node:assert/strict";
import { test } from "node:test";
import { createEngine, stubWorker } from "zipar";

/**
 * The code under test: images of one class, as PNG.
 *
 * @param {import("zipar").Engine} engine
 * @param {number} classLabel
 * @param {readonly number[]} seeds
 */
function drawAll(engine, classLabel, seeds) {
  return Promise.all(
    seeds.map(async (seed) => (await engine.generate({ classLabel, seed, window: 2 })).image.encode("png")),
  );
}

test("equal seeds give equal pictures, whatever is drawn beside them", async () => {
  const engine = await createEngine({ worker: stubWorker({ rows: 8, columns: 8 }) });
  try {
    const [first, other, second] = await drawAll(engine, 1, [5, 6, 5]);
    assert.deepEqual(first, second);
    assert.notDeepEqual(first, other);
  } finally {
    await engine.dispose();
  }
});
