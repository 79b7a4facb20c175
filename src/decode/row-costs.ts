import type { ForecastCost } from "../schedule/choose-lookahead.ts";

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
  /** Of this forward, which asks for the costs of several lookaheads. */
  #lastCurve: readonly RowCost[] | undefined;

  record(rowCount: number, ms: number): void {
    this.#forwardCount += 1;
    this.#lastCurve = undefined;
    const bucket = bucketOf(rowCount);
    const before = this.#costs.get(bucket);
    const mean = before === undefined ? ms : before.ms + WEIGHT * (ms - before.ms);
    this.#costs.set(bucket, { ms: mean, measuredAt: this.#forwardCount });
  }

  /** What was measured lately, or else lies on the line through its neighbours; undefined where nothing is known. */
  of(rowCount: number): ForecastCost | undefined {
    const rows = bucketOf(rowCount);
    this.#lastCurve ??= this.#curve();
    const curve = this.#lastCurve;
    const at = curve.findIndex((cost) => cost.rows >= rows);
    const found = curve[at];
    if (found?.rows === rows) return { ms: found.ms, isMeasured: true };
    const [first, second = first] = at === -1 ? curve.slice(-2) : curve.slice(Math.max(0, at - 1), at + 1);
    if (first === undefined || second === undefined) return undefined;
    const slope = first === second ? 0 : (second.ms - first.ms) / (second.rows - first.rows);
    return { ms: first.ms + slope * (rows - first.rows), isMeasured: false };
  }

  /** All that was measured, by ascending rows. */
  table(): readonly RowCost[] {
    return [...this.#costs].map(([rows, { ms }]) => ({ rows, ms })).sort((a, b) => a.rows - b.rows);
  }

  /**
   * What was measured lately, where no forward takes longer than one of more rows: what says otherwise is noise, by which
   * further rows would seem to cost less than nothing.
   */
  #curve(): readonly RowCost[] {
    const isRecent = ({ rows }: RowCost) =>
      this.#forwardCount - (this.#costs.get(rows)?.measuredAt ?? 0) <= LIFETIME;
    const recent = this.table().filter(isRecent);
    return recent.map(({ rows }, at) => ({ rows, ms: Math.min(...recent.slice(at).map(({ ms }) => ms)) }));
  }
}

/** The count, rounded up to a power of the root of two. */
function bucketOf(count: number): number {
  return Math.floor(2 ** (Math.ceil(2 * Math.log2(count) - 1e-9) / 2) + 1e-9);
}
