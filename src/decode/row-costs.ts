/** Weight of a new measurement against those before it. */
const WEIGHT = 0.2;
/** Forwards after which a measurement says nothing any more: caches fill, and other work comes and goes. */
const LIFETIME = 256;

/** Time of a forward of so many rows (queries x branches). */
export interface RowCost {
  /** The largest count that the measurement stands for; a power of two. */
  readonly rows: number;
  readonly ms: number;
}

/** What forwards have taken lately, by their rows in powers of two. */
export class RowCosts {
  readonly #costs = new Map<number, { ms: number; measuredAt: number }>();
  #forwardCount = 0;

  record(rowCount: number, ms: number): void {
    this.#forwardCount += 1;
    const bucket = powerOfTwo(rowCount);
    const before = this.#costs.get(bucket);
    const mean = before === undefined ? ms : before.ms + WEIGHT * (ms - before.ms);
    this.#costs.set(bucket, { ms: mean, measuredAt: this.#forwardCount });
  }

  /** In ms; undefined where it was not measured lately. */
  of(rowCount: number): number | undefined {
    const cost = this.#costs.get(powerOfTwo(rowCount));
    return cost === undefined || this.#forwardCount - cost.measuredAt > LIFETIME ? undefined : cost.ms;
  }

  /** All that was measured, by ascending rows. */
  table(): readonly RowCost[] {
    return [...this.#costs].map(([rows, { ms }]) => ({ rows, ms })).sort((a, b) => a.rows - b.rows);
  }
}

function powerOfTwo(count: number): number {
  return 2 ** Math.ceil(Math.log2(count));
}
