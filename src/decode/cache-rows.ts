/** The free rows of a worker's K/V cache. One row holds one branch of one sequence. */
export interface CacheRows {
  readonly rowCount: number;
  /** Ascending, so that sequences sit close together and the worker can read the cache without copying it. */
  readonly free: readonly number[];
}

export function allCacheRows(rowCount: number): CacheRows {
  return { rowCount, free: Array.from({ length: rowCount }, (_, row) => row) };
}

export function canAllocateRows(rows: CacheRows, count: number): boolean {
  return rows.free.length >= count;
}

/** Takes the lowest free rows. */
export function allocateRows(
  rows: CacheRows,
  count: number,
): { rows: CacheRows; allocated: readonly number[] } {
  if (!canAllocateRows(rows, count))
    throw new Error(`allocateRows: ${count} wanted, ${rows.free.length} free`);
  return { rows: { ...rows, free: rows.free.slice(count) }, allocated: rows.free.slice(0, count) };
}

export function freeRows(rows: CacheRows, allocated: readonly number[]): CacheRows {
  for (const row of allocated) {
    if (rows.free.includes(row)) throw new Error(`freeRows: row ${row} is free already`);
  }
  return { ...rows, free: [...rows.free, ...allocated].sort((a, b) => a - b) };
}
