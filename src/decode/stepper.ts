import { commitStep } from "../schedule/commit-step.ts";
import { plainForwardCount } from "../schedule/grid.ts";
import { plainStep } from "../schedule/plain-order.ts";
import { isComplete, type SequenceState } from "../schedule/sequence-state.ts";
import type { QueryResult } from "../schedule/step-outcome.ts";
import { smallestWindow } from "../schedule/window.ts";
import type { Admission } from "./admission.ts";
import { type CommittedStep, imageOf, isPresent, type LiveImage, withDecoded } from "./image.ts";
import { failImage } from "./image-queue.ts";
import type { PixelQueue } from "./pixel-queue.ts";
import { type PlannedForward, planForward, rowCountOf } from "./plan-forward.ts";
import { isOutOfMemory } from "./rebuild-cache.ts";
import { RowCosts } from "./row-costs.ts";
import type { Supervisor } from "./supervisor.ts";
import { answerOf, isSuspect, WorkerLost } from "./worker-lost.ts";

/** One forward of a batch of live images: `plan -> forward -> commit`. Complete grids go on to become pixels. */
export class Stepper {
  /** What forwards have taken lately. */
  readonly rowCosts = new RowCosts();
  /** The same, by the images that shared them. */
  readonly #batchCosts = new RowCosts();
  readonly #supervisor: Supervisor;
  readonly #admission: Admission;
  readonly #pixels: PixelQueue;
  /** Steps that were committed, and of which the listeners do not know. */
  #undelivered: { readonly live: LiveImage; readonly step: CommittedStep }[] = [];
  /** Images that share a forward; fewer than are live once memory did not suffice for more. */
  #batchLimit = Number.POSITIVE_INFINITY;
  /** Steps that guesses may look ahead; fewer once memory did not suffice for more. */
  #lookaheadLimit = Number.POSITIVE_INFINITY;

  constructor(supervisor: Supervisor, admission: Admission, pixels: PixelQueue) {
    this.#supervisor = supervisor;
    this.#admission = admission;
    this.#pixels = pixels;
  }

  /** What a forward of so many images took lately, in ms, or of the next number of images that was measured. */
  forwardMs(imageCount: number): number | undefined {
    const costs = this.#batchCosts.table();
    return (costs.findLast(({ rows }) => rows <= imageCount) ?? costs[0])?.ms;
  }

  /** Another worker may have more memory. */
  forgetLimits(): void {
    this.#batchLimit = Number.POSITIVE_INFINITY;
    this.#lookaheadLimit = Number.POSITIVE_INFINITY;
  }

  /** An image that has cost workers is stepped alone. */
  nextBatch(): readonly LiveImage[] {
    const { live } = this.#admission;
    const suspect = live.find(({ image }) => isSuspect(image));
    return suspect === undefined ? live.slice(0, this.#batchLimit) : [suspect];
  }

  /** Plan, forward, commit. */
  async step(batch: readonly LiveImage[]): Promise<void> {
    const present = batch.filter(isPresent);
    if (present.length === 0) return;
    const { worker } = this.#supervisor;
    const steps = planForward(present, worker.dtype, this.rowCosts, this.#lookaheadLimit);
    const startedAt = performance.now();
    const forward = answerOf(this.#supervisor, worker.forward(steps), present.map(imageOf));
    this.deliver(); // while the worker runs this forward, listeners learn of the last one
    const results = await forward.catch((error: unknown) => ({ error }));
    if ("error" in results) {
      const lookahead = Math.max(...steps.map(({ plan }) => plan.lookahead));
      if (!isOutOfMemory(results.error) || lookahead === 0) return this.#stepInParts(present, results.error);
      this.#lookaheadLimit = Math.floor(lookahead / 2);
      return this.step(present);
    }
    const ms = performance.now() - startedAt;
    this.rowCosts.record(rowCountOf(steps), ms);
    this.#batchCosts.record(present.length, ms);
    for (const [k, live] of present.entries())
      if (isPresent(live)) this.#commit(live, steps[k] as PlannedForward, results[k] ?? []);
  }

  /** A forward failed for want of memory, or over one of its images, which halving finds. @throws WorkerLost */
  async #stepInParts(batch: readonly LiveImage[], error: unknown): Promise<void> {
    if (error instanceof WorkerLost) throw error;
    const [only] = batch;
    if (batch.length === 1 && only !== undefined) return this.#admission.fail(only.image, error);
    const half = Math.ceil(batch.length / 2);
    if (isOutOfMemory(error)) this.#batchLimit = half;
    await this.step(batch.slice(0, half));
    await this.step(batch.slice(half));
  }

  #commit(live: LiveImage, { plan, branches }: PlannedForward, results: readonly QueryResult[]): void {
    const { image, state, cacheRows } = live;
    const stepBefore = plainStep(state);
    try {
      const outcome = commitStep(state, plan, results);
      this.#undelivered.push({ live, step: { plan, results, outcome } });
    } catch (error) {
      this.#admission.fail(image, error); // its results break the rules: the others go on
      return;
    }
    image.lossCount = 0;
    live.lacksBranches ||= branches.length < cacheRows.length;
    if (isComplete(state)) this.#finish(live);
    else if (isPreviewDue(state, stepBefore, image.job.options.partialImages)) this.#preview(live);
  }

  /** Tells the listeners of the steps that were committed. */
  deliver(): void {
    const steps = this.#undelivered;
    this.#undelivered = [];
    for (const { live, step } of steps) {
      const { image, state } = live;
      if (image.hasLeft) continue;
      try {
        image.job.onStep(state, step);
      } catch (error) {
        this.#admission.fail(image, error); // what listens to this image threw: the others go on
      }
    }
  }

  #finish({ image, state }: LiveImage): void {
    this.deliver();
    if (image.hasLeft) return;
    this.#admission.leave(image);
    const { job } = image;
    if (!job.options.image) job.onDone(state, undefined);
    else
      this.#pixels.add({
        tokens: state.tokens,
        grid: state.grid,
        onPixels: (pixels) => job.onDone(state, pixels),
        onError: (error) => job.onError(withDecoded(error, state)),
      });
  }

  #preview({ image, state }: LiveImage): void {
    const snapshot = { ...state, tokens: state.tokens.slice(), decodedCounts: state.decodedCounts.slice() };
    this.#pixels.add({
      tokens: snapshot.tokens,
      grid: state.grid,
      onPixels: (pixels) => image.job.onPartialImage(pixels, snapshot),
      // Another worker may hold the image by now; whichever does lets it go.
      onError: (error) => {
        if (!image.hasLeft) failImage(image, error);
      },
    });
  }
}

/**
 * Previews are spread evenly over the steps of plain decoding, whose work a forward with guesses may do several of; an
 * adaptive window takes at least as many as its smallest one.
 */
function isPreviewDue(state: SequenceState, stepBefore: number, previewCount: number): boolean {
  const window = smallestWindow(state.window);
  const start = state.prefixRows * window;
  const stepCount = plainForwardCount(state.grid, window) - start;
  for (let k = 1; k <= previewCount; k++) {
    const due = start + Math.round((k * stepCount) / (previewCount + 1));
    if (stepBefore < due && due <= plainStep(state)) return true;
  }
  return false;
}
