import type { Engine } from "../../src/api/engine.ts";
import { cellSlot, slotCount, type TokenGrid } from "../../src/schedule/grid.ts";
import { PURPOSE, randomKey, uniform } from "../../src/schedule/random.ts";
import type { Query } from "../../src/schedule/step-plan.ts";

/**
 * By cell, the token that next-token order draws at the cell's own random number once all tokens before it are those of
 * `tokens`: one teacher-forced forward in the order of the sequence, without any schedule.
 */
export function forcedDraws(
  engine: Engine,
  grid: TokenGrid,
  tokens: readonly number[],
  { prompt, guidanceScale, seed }: { prompt: string; guidanceScale: number; seed: number },
): Promise<readonly number[]> {
  const { rows, columns, rowEnd } = grid;
  const { card } = engine;
  return engine.whenIdle(async (worker, newSequence) => {
    const sequence = newSequence();
    const conditioning = { type: "text", prompt, negativePrompt: null } as const;
    const cacheRows = [...card.branches.keys()];
    const { promptLength } = await worker.encodePrompt({ sequence, cacheRows, rows, columns, conditioning });
    const fed = new Map<number, number>();
    const wants = new Map<number, Query["want"]>();
    for (let slot = 0; slot < promptLength; slot++) fed.set(slot, 0);
    for (let row = 0; row < rows; row++) {
      for (let column = 0; column < columns; column++) {
        const slot = cellSlot(grid, promptLength, row, column);
        fed.set(slot, tokens[row * columns + column] as number);
        const u = uniform(randomKey(seed), row, column, PURPOSE.token);
        wants.set(slot - 1, { type: "draw", row, column, uniform: u });
      }
      if (rowEnd === "token") fed.set(cellSlot(grid, promptLength, row, columns), card.codeCount);
    }
    const queries = [...fed].map(
      ([slot, token]): Query => ({
        kind: slot < promptLength ? "prompt" : "ordinary",
        token,
        slot,
        step: 0,
        want: wants.get(slot) ?? { type: "none" },
      }),
    );
    const plan = { queries, runs: Int32Array.of(0, slotCount(grid, promptLength)) };
    const { temperature, topK, topP } = card.defaults;
    const sampling = { guidanceScale, temperature, topK, topP };
    const [results = []] = await worker.forward([{ sequence, plan, sampling }]);
    await worker.release([sequence]);
    return results.flatMap((result) => (result !== undefined && "token" in result ? [result.token] : []));
  });
}
