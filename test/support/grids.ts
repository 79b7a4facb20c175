import fc from "fast-check";
import type { TokenGrid } from "../../src/schedule/grid.ts";

/** A grid with a fixed window and the prompt before it. */
export interface Setting {
  readonly grid: TokenGrid;
  readonly window: number;
  readonly promptLength: number;
  readonly refreshRowEnds: boolean;
}

/** Grids up to `side` x `side`, both row-end kinds, and every window that fits. */
export function settings(side: number): fc.Arbitrary<Setting> {
  return fc
    .record({
      rows: fc.integer({ min: 1, max: side }),
      columns: fc.integer({ min: 1, max: side }),
      rowEnd: fc.constantFrom("none" as const, "token" as const),
    })
    .chain((grid) =>
      fc.record({
        grid: fc.constant(grid),
        window: fc.integer({ min: 1, max: grid.columns }),
        promptLength: fc.integer({ min: 1, max: 9 }),
        refreshRowEnds: fc.boolean(),
      }),
    );
}
