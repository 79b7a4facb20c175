/**
 * What a window saves: forwards that the schedule needs for a grid, and those that a run took. No Python.
 *
 *     node examples/compare-windows.mjs
 *     node examples/compare-windows.mjs 90 90                  # rows and columns, here those of Emu3
 */
import { createEngine, plan, stubWorker } from "zipar";

const [rows = 24, columns = 24] = process.argv.slice(2).map(Number);

const engine = await createEngine({ worker: stubWorker({ rows, columns }) });
try {
  for (const window of [columns, 8, 4, 2]) {
    const { forwards, reduction, maxQueries } = plan({ rows, columns, window });
    const { stats } = await engine.generate({ classLabel: 0, window, image: false });
    console.log(
      `window ${window}: ${forwards} forwards planned, ${stats.forwards} run, ${(100 * reduction).toFixed(1)} % saved, ` +
        `up to ${maxQueries} tokens fed at once`,
    );
  }
} finally {
  await engine.dispose();
}
