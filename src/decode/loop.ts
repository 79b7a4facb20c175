import { ZiparError } from "../errors.ts";
import { Admission } from "./admission.ts";
import { branchesOf, leftOutBranches, needsBranches } from "./branches.ts";
import { holdPrompt } from "./hold-prompt.ts";
import {
  type DecodeJob,
  type Image,
  type ImageRequest,
  imageOf,
  isPresent,
  type LiveImage,
} from "./image.ts";
import { PixelQueue } from "./pixel-queue.ts";
import { isOutOfMemory, rebuildCache, rebuildGroups, rebuildRequest } from "./rebuild-cache.ts";
import type { RowCost } from "./row-costs.ts";
import { Stepper } from "./stepper.ts";
import type { Supervisor } from "./supervisor.ts";
import type { Worker } from "./worker.ts";
import { answerOf, countLoss, WorkerLost } from "./worker-lost.ts";

/** Has the worker to itself: all cache rows are free. `newSequence` gives ids that no image has. */
export type IdleWork<Value> = (worker: Worker, newSequence: () => number) => Promise<Value>;

/**
 * The main path: many images at once, forward after forward (`stepper.ts`) until every grid is full.
 *
 * Images join in order as soon as cache rows are free, and leave when they are complete, cancelled or failed. The loss
 * of the worker is an exception (`WorkerLost`): the images queue again, first in line, and go on at the same step in
 * another worker.
 */
export class DecodeLoop {
  readonly #supervisor: Supervisor;
  readonly #admission: Admission;
  readonly #pixels: PixelQueue;
  readonly #stepper: Stepper;
  readonly #closing = new AbortController();
  #idleWork: readonly { run(): Promise<void>; fail(error: unknown): void }[] = [];
  #nextSequence = 1;
  #running: Promise<void> | undefined;
  /** A worker starts or somebody else has it, which may take long. */
  #isWaiting = false;

  constructor(supervisor: Supervisor, queueLimit: number) {
    this.#supervisor = supervisor;
    this.#admission = new Admission(supervisor.worker.cacheRowCount, queueLimit, (sequence) => {
      supervisor.worker.release([sequence]).catch(() => {
        // the worker is gone, and with it the sequence; the loop learns of that by its next request
      });
    });
    this.#pixels = new PixelQueue(
      () => supervisor.failure(),
      () => this.#wake(),
    );
    this.#stepper = new Stepper(supervisor, this.#admission, this.#pixels);
  }

  /** What forwards have taken lately, by ascending rows. */
  get rowCosts(): readonly RowCost[] {
    return this.#stepper.rowCosts.table();
  }

  /** @throws ZiparError `queue-full`, or what the loop was closed with */
  submit(job: DecodeJob): void {
    this.#closing.signal.throwIfAborted();
    const image: Image = { job, state: undefined, lossCount: 0, hasLeft: false };
    this.#admission.add(image, this.#supervisor.worker.card.branches.length);
    job.options.signal?.addEventListener("abort", () => {
      if (this.#isWaiting) this.#admission.dropCancelled(); // otherwise the next turn does it
    });
    this.#wake();
  }

  /**
   * Runs `work` once no image waits or is live; images that are submitted meanwhile wait for its end.
   * Rejects with what `work` rejects with, which the loss of the worker makes it do, and when the loop is closed.
   */
  whenIdle<Value>(work: IdleWork<Value>): Promise<Value> {
    this.#closing.signal.throwIfAborted();
    return new Promise((resolve, reject) => {
      const run = async () => {
        try {
          resolve(await work(this.#supervisor.worker, () => this.#nextSequence++));
        } catch (error) {
          reject(error);
        }
      };
      this.#idleWork = [...this.#idleWork, { run, fail: reject }];
      this.#wake();
    });
  }

  /** Fails every image; nothing can be submitted any more. */
  close(error: unknown): void {
    this.#closing.abort(error);
    this.#failAll(this.#closing.signal.reason);
  }

  #wake(): void {
    this.#running ??= this.#run().catch((error: unknown) => this.close(error)); // a broken invariant: nothing can go on
  }

  async #run(): Promise<void> {
    await Promise.resolve(); // calls made in the same tick share the first forward
    try {
      while (this.#hasWork()) {
        try {
          await this.#turn();
        } catch (error) {
          if (!(error instanceof WorkerLost)) throw error;
          await this.#recover(error);
        }
      }
    } finally {
      this.#running = undefined; // at once: what is submitted a moment later must find a loop that runs or none
    }
  }

  #hasWork(): boolean {
    return !this.#admission.isEmpty || this.#idleWork.length > 0 || this.#pixels.hasWork(this.#isIdle);
  }

  get #isIdle(): boolean {
    return this.#admission.live.length === 0;
  }

  /** One forward of the live images, and what must come before it. @throws WorkerLost */
  async #turn(): Promise<void> {
    this.#admission.dropCancelled();
    this.#checkWorker();
    this.#pixels.ask(this.#supervisor.worker, this.#isIdle);
    await this.#admit();
    const batch = this.#stepper.nextBatch();
    await this.#rebuild(batch.filter(needsBranches), leftOutBranches);
    await this.#stepper.step(batch);
    if (this.#admission.isEmpty) await this.#workWhileIdle();
  }

  async #workWhileIdle(): Promise<void> {
    const [next] = this.#idleWork;
    if (next === undefined) return;
    this.#isWaiting = true;
    await next.run();
    this.#isWaiting = false;
    this.#idleWork = this.#idleWork.filter((other) => other !== next);
  }

  /** Gives cache rows to the images that wait, as far as they suffice. Those of a lost worker get their K/V again. */
  async #admit(): Promise<void> {
    const returning: LiveImage[] = [];
    for (let image = this.#admission.next; image !== undefined; image = this.#admission.next) {
      const branchCount = this.#branchCount(image.job.options);
      if (branchCount > this.#admission.rowCount) {
        this.#admission.fail(image, cacheTooSmall(branchCount, this.#admission.rowCount));
        continue;
      }
      const cacheRows = this.#admission.admitNext(branchCount);
      if (cacheRows === undefined) break;
      const live = await this.#start(image, cacheRows);
      if (live !== undefined && live.state.forwardCount > 0) returning.push(live);
      if (this.#admission.next === image) break; // it waits until others have made room
    }
    for (const { live, forwardCount } of await this.#rebuild(returning, branchesOf))
      live.image.job.onWorkerRestored(forwardCount);
  }

  /** Undefined where the image has left or must wait for memory. */
  async #start(image: Image, cacheRows: readonly number[]): Promise<LiveImage | undefined> {
    const sequence = this.#nextSequence++;
    if (image.state === undefined && image.lossCount === 0) image.job.onStart();
    try {
      const request = holdPrompt(this.#supervisor.worker, image, sequence, cacheRows);
      const live = await answerOf(this.#supervisor, request, [image]);
      if (image.hasLeft) return undefined; // the loop was closed
      this.#admission.goLive(live);
      return live;
    } catch (error) {
      this.#admission.free(cacheRows);
      const mayStartLater = error instanceof WorkerLost || (isOutOfMemory(error) && !this.#isIdle);
      if (mayStartLater) this.#admission.putBack(image);
      else this.#admission.fail(image, error);
      if (error instanceof WorkerLost) throw error;
      return undefined;
    }
  }

  /** Writes K/V of some branches again; returns the images for which that was done. */
  async #rebuild(lacking: readonly LiveImage[], branches: (live: LiveImage) => readonly number[]) {
    const rebuilt: { readonly live: LiveImage; readonly forwardCount: number }[] = [];
    for (const group of rebuildGroups(lacking)) {
      const sequences = group.map((live) => rebuildRequest(live, branches(live)));
      const request = rebuildCache(this.#supervisor.worker, sequences);
      const { forwardCount, failures } = await answerOf(this.#supervisor, request, group.map(imageOf));
      for (const live of group.filter(isPresent)) {
        if (failures.has(live.sequence)) this.#admission.fail(live.image, failures.get(live.sequence));
        else rebuilt.push({ live, forwardCount });
      }
    }
    for (const { live } of rebuilt) live.lacksBranches = branchesOf(live).length < live.cacheRows.length;
    return rebuilt;
  }

  /** Puts another worker in the place of the lost one. */
  async #recover({ reason, images }: WorkerLost): Promise<void> {
    this.#stepper.deliver();
    for (const image of images) {
      const last = countLoss(image, reason);
      if (last !== undefined) this.#admission.fail(image, last);
    }
    for (const { job } of this.#admission.returnLive()) job.onWorkerLost(reason);
    if (!this.#hasWork()) return;
    this.#isWaiting = true;
    try {
      await this.#supervisor.replace();
      this.#admission.resize(this.#supervisor.worker.cacheRowCount);
      this.#stepper.forgetLimits();
    } catch (error) {
      this.#failAll(error);
    } finally {
      this.#isWaiting = false;
    }
  }

  /** @throws WorkerLost where the worker was lost while nothing was asked of it */
  #checkWorker(): void {
    const loss = this.#supervisor.failure();
    if (loss !== undefined) throw new WorkerLost(loss, []);
  }

  #failAll(error: unknown): void {
    this.#admission.failAll(error);
    for (const work of this.#idleWork) work.fail(error);
    this.#idleWork = [];
    this.#pixels.close(error);
  }

  #branchCount({ sampling }: ImageRequest): number {
    return sampling.guidanceScale === 1 ? 1 : this.#supervisor.worker.card.branches.length;
  }
}

function cacheTooSmall(wanted: number, available: number): ZiparError {
  return new ZiparError({
    code: "out-of-memory",
    message: `an image needs ${wanted} K/V cache rows and the worker has ${available}; raise the engine's \`maxImages\``,
  });
}
