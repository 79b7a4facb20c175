/** Weight of a new measurement against those before it. */
const WEIGHT = 0.2;
/** Forwards after which a measurement says nothing any more: caches fill, and other work comes and goes. */
const LIFETIME = 256;

/** Time of a forward of so many rows (queries x branches). */
export interface RowCost {
  /** The largest count that the measurement stands for. */
  readonly rows: number;
  readonly ms: number;
}

/** What forwards have taken lately, by their rows in half octaves: 2, 4, 5, 8, 11, 16, ... */
export class RowCosts {
  readonly #costs = new Map<number, { ms: number; measuredAt: number }>();
  #forwardCount = 0;

  record(rowCount: number, ms: number): void {
    this.#forwardCount += 1;
    const bucket = bucketOf(rowCount);
    const before = this.#costs.get(bucket);
    const mean = before === undefined ? ms : before.ms + WEIGHT * (ms - before.ms);
    this.#costs.set(bucket, { ms: mean, measuredAt: this.#forwardCount });
  }

  /** In ms; undefined where it was not measured lately. */
  of(rowCount: number): number | undefined {
    const cost = this.#costs.get(bucketOf(rowCount));
    return cost === undefined || this.#forwardCount - cost.measuredAt > LIFETIME ? undefined : cost.ms;
  }

  /** All that was measured, by ascending rows. */
  table(): readonly RowCost[] {
    return [...this.#costs].map(([rows, { ms }]) => ({ rows, ms })).sort((a, b) => a.rows - b.rows);
  }
}

/** The count, rounded up to a power of the root of two. */
function bucketOf(count: number): number {
  return Math.floor(2 ** (Math.ceil(2 * Math.log2(count) - 1e-9) / 2) + 1e-9);
}
