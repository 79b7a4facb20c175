/** What one worker could do for the next image. */
export interface Offer {
  /** Whether it has cache rows for the image now. */
  readonly hasRoom: boolean;
  /** Images that it holds. */
  readonly imageCount: number;
  /** What a forward of one image more is expected to take, in ms; undefined where none was measured yet. */
  readonly forwardMs: number | undefined;
}

/**
 * The worker that is expected to finish the next image first: all need as many forwards, so the one whose forwards will
 * be shortest. One that has not been measured is taken for as fast as the fastest. Undefined where no worker has room.
 */
export function chooseLane(offers: readonly Offer[]): number | undefined {
  const measured = offers.flatMap(({ forwardMs }) => forwardMs ?? []);
  const fastest = Math.min(...measured, Number.POSITIVE_INFINITY);
  let chosen: number | undefined;
  for (const [k, offer] of offers.entries()) {
    if (!offer.hasRoom) continue;
    const best = chosen === undefined ? undefined : offers[chosen];
    if (best === undefined || isBetter(offer, best, fastest)) chosen = k;
  }
  return chosen;
}

function isBetter(a: Offer, b: Offer, fastest: number): boolean {
  const [aMs, bMs] = [a.forwardMs ?? fastest, b.forwardMs ?? fastest];
  const ratio = Number.isFinite(aMs) ? aMs / bMs : 1;
  if (ratio < 1 - NOISE) return true;
  if (ratio > 1 + NOISE) return false;
  return a.imageCount < b.imageCount;
}

/** Times nearer to each other than this share say nothing: then the worker with fewer images is chosen. */
const NOISE = 0.1;
