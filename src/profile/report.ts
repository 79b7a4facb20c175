import { mean } from "../report/statistics.ts";
import { type MeanMasses, offsetMap, rowStartHeads } from "./mean-masses.ts";
import {
  keptShares,
  quantile,
  type RowWindows,
  rowWindows,
  smallestWindow,
  suggestedWindow,
} from "./windows.ts";

/** Shares of a query's attention, over all queries that predict a cell after the first. */
export interface AttentionShares {
  /** The token before the predicted cell, in its own row. */
  readonly previous: number;
  /** The cell right above the predicted one. */
  readonly above: number;
  /** The rest of the own row, and of the row above: to the left of the predicted cell's column, and to its right. */
  readonly ownRow: number;
  readonly aboveLeft: number;
  readonly aboveRight: number;
  /** All rows above that one. */
  readonly higher: number;
  /** The prompt, and row ends where there are any. */
  readonly other: number;
}

export interface HeadReport extends AttentionShares {
  readonly layer: number;
  readonly head: number;
  /** Median over rows of the head's smallest window. */
  readonly window: number;
}

export interface LocalityReport {
  readonly model: string;
  readonly device: string;
  readonly dtype: string;
  readonly samples: number;
  readonly seed: number;
  /** Share of a row start's attention that a window must keep. */
  readonly windowQuantile: number;
  readonly rows: number;
  readonly columns: number;
  readonly layers: number;
  readonly heads: number;
  readonly suggestedWindow: number;
  /** One for each row after the first. */
  readonly windows: readonly RowWindows[];
  /**
   * For families without row-end tokens, the same if the last token of the row above counts as seen at any window: its
   * slot is the query's own, and a surrogate stands there. Null for families with row-end tokens.
   */
  readonly windowsWithOwnSlotSeen: readonly RowWindows[] | null;
  /** Share of a row start's attention that each window keeps, from 1 on: mean over rows, heads and layers. Higher rows count as complete. */
  readonly keptByWindow: readonly number[];
  readonly shares: AttentionShares;
  /** What `shares` would be if each query paid all its image cells alike: no locality at all. */
  readonly evenShares: Omit<AttentionShares, "other">;
  readonly perHead: readonly HeadReport[];
  /** Mean over heads and layers: `map[rows up][columns - 1 + columns to the right of the predicted cell]`. */
  readonly map: readonly (readonly number[])[];
}

export interface ProfileRun {
  readonly model: string;
  readonly device: string;
  readonly dtype: string;
  readonly seed: number;
  readonly windowQuantile: number;
  readonly rowEnd: "none" | "token";
}

export function describeLocality({ rowEnd, ...run }: ProfileRun, masses: MeanMasses): LocalityReport {
  const { imageCount, rows, columns, layers, heads } = masses;
  const windowsIf = (isLastSeen: boolean) =>
    Array.from({ length: rows - 1 }, (_, k) =>
      rowWindows(k + 1, rowStartHeads(masses, k + 1), run.windowQuantile, isLastSeen),
    );
  const windows = windowsIf(false);
  const map = offsetMap(masses);
  return {
    ...run,
    samples: imageCount,
    rows,
    columns,
    layers,
    heads,
    suggestedWindow: suggestedWindow(windows),
    windows,
    windowsWithOwnSlotSeen: rowEnd === "none" ? windowsIf(true) : null,
    keptByWindow: meanKept(masses),
    shares: sharesOf(map, mean([...masses.otherMass])),
    evenShares: evenShares(rows, columns),
    perHead: Array.from({ length: layers * heads }, (_, k) => describeHead(masses, k, run.windowQuantile)),
    map,
  };
}

function meanKept(masses: MeanMasses): readonly number[] {
  const kept = Array.from({ length: masses.rows - 1 }, (_, k) =>
    rowStartHeads(masses, k + 1).map(keptShares),
  ).flat();
  return Array.from({ length: masses.columns }, (_, k) =>
    kept.length === 0 ? 1 : mean(kept.map((shares) => shares[k] as number)),
  );
}

function describeHead(masses: MeanMasses, index: number, share: number): HeadReport {
  const { heads, rows, otherMass } = masses;
  const windows = Array.from({ length: rows - 1 }, (_, k) => {
    const attention = rowStartHeads(masses, k + 1)[index];
    return attention === undefined ? 1 : smallestWindow(attention, share, false);
  });
  return {
    layer: Math.floor(index / heads),
    head: index % heads,
    window: windows.length === 0 ? 1 : quantile(windows, 0.5),
    ...sharesOf(offsetMap(masses, { first: index, count: 1 }), otherMass[index] as number),
  };
}

function sharesOf(map: readonly (readonly number[])[], other: number): AttentionShares {
  const [own = [], above = [], ...higher] = map;
  const center = (own.length - 1) / 2; // the predicted cell's column
  const previous = own[center - 1] ?? 0;
  return {
    previous,
    above: above[center] ?? 0,
    ownRow: sum(own) - previous,
    aboveLeft: sum(above.slice(0, center)),
    aboveRight: sum(above.slice(center + 1)),
    higher: sum(higher.flat()),
    other,
  };
}

/** Means over the queries that predict a cell after the first, as for the attention itself. */
function evenShares(rows: number, columns: number): LocalityReport["evenShares"] {
  const shares = { previous: 0, above: 0, ownRow: 0, aboveLeft: 0, aboveRight: 0, higher: 0 };
  for (let cell = 1; cell < rows * columns; cell++) {
    const row = Math.floor(cell / columns);
    const column = cell % columns;
    const share = 1 / cell / Math.max(1, rows * columns - 1); // it sees as many cells as come before it
    if (column > 0) {
      shares.previous += share;
      shares.ownRow += (column - 1) * share;
    }
    if (row > 0) {
      shares.above += share;
      shares.aboveLeft += column * share;
      shares.aboveRight += (columns - 1 - column) * share;
      shares.higher += (row - 1) * columns * share;
    }
  }
  return shares;
}

function sum(values: readonly number[]): number {
  return values.reduce((total, value) => total + value, 0);
}
