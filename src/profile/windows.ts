/** What the query that predicts the first cell of a row pays to the row above, by column, and to all image cells. */
export interface RowStartAttention {
  readonly byColumn: ArrayLike<number>;
  readonly total: number;
}

/** Quantiles over heads and layers of the smallest windows of one row. */
export interface RowWindows {
  /** Of the row that is opened; from 1. */
  readonly row: number;
  /** Of the attention averaged over heads and layers. */
  readonly mean: number;
  readonly p50: number;
  readonly p90: number;
  readonly max: number;
  /** Of an attention that is spread evenly over all image cells that the row start sees: no locality at all. */
  readonly even: number;
}

/** Float32 sums may fall short of a share that they reach. */
const TOLERANCE = 1e-6;

/**
 * The smallest window, at least 1, that leaves at most `1 - share` of the attention unseen. A window of `s` hides the
 * cells of the row above at columns `s` and up; rows higher up count as complete.
 *
 * `isLastSeen`: nothing hides the last column. In families without row-end tokens it is the query's own slot, which the
 * query sees at any window, though a surrogate stands there until the true token is decoded.
 */
export function smallestWindow(
  { byColumn, total }: RowStartAttention,
  share: number,
  isLastSeen: boolean,
): number {
  const hideable = byColumn.length - (isLastSeen ? 1 : 0);
  const allowed = (1 - share) * total + TOLERANCE * total;
  let hidden = 0;
  for (let window = hideable; window > 1; window--) {
    hidden += byColumn[window - 1] as number;
    if (hidden > allowed) return window;
  }
  return 1;
}

/** For each window from 1 on, the share of the row start's attention on the image that it keeps, if higher rows are complete. */
export function keptShares({ byColumn, total }: RowStartAttention): readonly number[] {
  const kept = new Array<number>(byColumn.length).fill(1);
  let hidden = 0;
  for (let window = byColumn.length - 1; window >= 1; window--) {
    hidden += byColumn[window] as number;
    kept[window - 1] = total > 0 ? 1 - hidden / total : 1;
  }
  return kept;
}

/** The smallest value that at least `share` of the values do not exceed. */
export function quantile(values: readonly number[], share: number): number {
  const ordered = [...values].sort((a, b) => a - b);
  const rank = Math.ceil(share * ordered.length - 1e-9);
  return ordered[Math.min(ordered.length, Math.max(1, rank)) - 1] as number;
}

/** The windows of a row from the attention of all its heads. */
export function rowWindows(
  row: number,
  heads: readonly RowStartAttention[],
  share: number,
  isLastSeen: boolean,
): RowWindows {
  const windows = heads.map((head) => smallestWindow(head, share, isLastSeen));
  return {
    row,
    mean: smallestWindow(pool(heads), share, isLastSeen),
    p50: quantile(windows, 0.5),
    p90: quantile(windows, 0.9),
    max: Math.max(...windows),
    even: smallestWindow(evenAttention(row, heads[0]?.byColumn.length ?? 0), share, isLastSeen),
  };
}

/** A window for the whole image: the median over its rows of the 90 % quantile over heads; 1 for a single row. */
export function suggestedWindow(rows: readonly RowWindows[]): number {
  if (rows.length === 0) return 1;
  return quantile(
    rows.map(({ p90 }) => p90),
    0.5,
  );
}

function evenAttention(rowsAbove: number, columns: number): RowStartAttention {
  return { byColumn: new Array<number>(columns).fill(1), total: rowsAbove * columns };
}

function pool(heads: readonly RowStartAttention[]): RowStartAttention {
  const columns = heads[0]?.byColumn.length ?? 0;
  return {
    byColumn: Array.from({ length: columns }, (_, column) =>
      heads.reduce((sum, { byColumn }) => sum + (byColumn[column] as number), 0),
    ),
    total: heads.reduce((sum, { total }) => sum + total, 0),
  };
}
