import { Admission } from "./admission.ts";
import { branchesOf, leftOutBranches, needsBranches } from "./branches.ts";
import type { Offer } from "./choose-lane.ts";
import { holdPrompt } from "./hold-prompt.ts";
import { type Image, imageOf, isPresent, type LiveImage } from "./image.ts";
import type { ImageQueue } from "./image-queue.ts";
import { PixelQueue, type QueuedPixels } from "./pixel-queue.ts";
import { isOutOfMemory, rebuildCache, rebuildGroups, rebuildRequest } from "./rebuild-cache.ts";
import type { RowCost } from "./row-costs.ts";
import { Stepper } from "./stepper.ts";
import { isVacancy, type Supervisor } from "./supervisor.ts";
import type { Worker } from "./worker.ts";
import { answerOf, countLoss, WorkerLost, workerLeft } from "./worker-lost.ts";

/** Has the worker to itself: all cache rows are free. `newSequence` gives ids that no image has. */
export type IdleWork<Value> = (worker: Worker, newSequence: () => number) => Promise<Value>;

/** What a decode loop must know of the others, which share its queue. */
export interface Team {
  readonly queue: ImageQueue;
  /** Whether any of them has something to do. */
  hasWork(): boolean;
  /** Whether this loop is the one that shall begin the next image. */
  isTurnOf(loop: DecodeLoop): boolean;
  /** Something that may concern the others has happened: an image waits, or there is room for one. */
  wake(): void;
  /** A grid whose pixels were asked of a worker that was lost. */
  placePixels(pixels: QueuedPixels, loop: DecodeLoop): void;
  /** The loop's worker cannot be replaced, and it has handed back its images. */
  giveUp(loop: DecodeLoop, error: unknown): void;
  /** A rule was broken: nothing can go on. */
  close(error: unknown): void;
}

/**
 * The main path of one worker: many images at once, forward after forward (`stepper.ts`) until every grid is full.
 *
 * Images are taken from the queue in order as soon as cache rows are free, and leave when they are complete, cancelled
 * or failed. The loss of the worker is an exception (`WorkerLost`): the images queue again, first in line, and go on at
 * the same step in another worker, whichever has room first.
 */
export class DecodeLoop {
  readonly supervisor: Supervisor;
  readonly #team: Team;
  readonly #admission: Admission;
  readonly #pixels: PixelQueue;
  readonly #stepper: Stepper;
  /** What it was closed with. */
  #closed: { readonly error: unknown } | undefined;
  #idleWork: readonly { run(): Promise<void>; fail(error: unknown): void }[] = [];
  #nextSequence = 1;
  #running: Promise<void> | undefined;
  #isReplacing = false;
  #isGone = false;
  /** It is gone because nobody came, who may come later. */
  #isVacant = false;
  /** Somebody else has the worker. */
  #isLent = false;

  constructor(supervisor: Supervisor, team: Team) {
    this.supervisor = supervisor;
    this.#team = team;
    this.#admission = new Admission(supervisor.worker.cacheRowCount, team.queue, (sequence) => {
      supervisor.worker.release([sequence]).catch(() => {
        // the worker is gone, and with it the sequence; the loop learns of that by its next request
      });
    });
    this.#pixels = new PixelQueue({
      loss: () => supervisor.failure(),
      onLost: (pixels) => team.placePixels(pixels, this),
      onWaiting: () => this.wake(),
      onSettled: () => this.wake(),
    });
    this.#stepper = new Stepper(supervisor, this.#admission, this.#pixels);
  }

  /** Whether its worker runs, finishes what it holds, is being replaced, or cannot be replaced. */
  get state(): "ready" | "leaving" | "lost" | "gone" {
    if (this.#isGone) return "gone";
    if (this.#isReplacing || this.supervisor.failure() !== undefined || this.#hasLeft) return "lost";
    return this.supervisor.worker.isLeaving ? "leaving" : "ready";
  }

  get imageCount(): number {
    return this.#admission.imageCount;
  }

  /** What forwards have taken lately, by ascending rows. */
  get rowCosts(): readonly RowCost[] {
    return this.#stepper.rowCosts.table();
  }

  /** Cache rows of its worker, free or not. */
  get rowCount(): number {
    return this.#admission.rowCount;
  }

  get freeRowCount(): number {
    return this.#admission.freeRowCount;
  }

  /** Images of so many branches for which it has cache rows. */
  roomFor(branchCount: number): number {
    return this.#isGone ? 0 : this.#admission.roomFor(branchCount);
  }

  /** What it could do for the next image now. */
  offer(branchCount: number): Offer {
    const { imageCount } = this;
    const isAble = this.state === "ready" && !this.#isLent;
    return {
      hasRoom: isAble && this.roomFor(branchCount) > 0,
      imageCount,
      forwardMs: this.#stepper.forwardMs(imageCount + 1),
    };
  }

  /** Whether it has something to do that no other loop can. */
  hasOwnWork(): boolean {
    return !this.#admission.isEmpty || this.#idleWork.length > 0 || this.#pixels.hasWork(this.#isIdle);
  }

  takePixels(pixels: QueuedPixels): void {
    this.#pixels.put(pixels);
  }

  /** Hands back the grids that wait to be asked for. */
  returnPixels(): readonly QueuedPixels[] {
    return this.#pixels.returnWaiting();
  }

  /** Lets a worker be awaited again, where nobody had come. */
  reopen(): void {
    if (!this.#isVacant) return;
    this.#isVacant = false;
    this.#isGone = false;
  }

  /** Fails what it holds. It may try again to replace a worker that could not be replaced. */
  reset(error: unknown): void {
    this.#isGone = false;
    this.#isVacant = false;
    this.#failAll(error);
  }

  /**
   * Runs `work` once no image waits or is live; images that are submitted meanwhile wait for its end.
   * Rejects with what `work` rejects with, which the loss of the worker makes it do, and when the loop is closed.
   */
  whenIdle<Value>(work: IdleWork<Value>): Promise<Value> {
    if (this.#closed !== undefined) throw this.#closed.error;
    return new Promise((resolve, reject) => {
      const run = async () => {
        try {
          resolve(await work(this.supervisor.worker, () => this.#nextSequence++));
        } catch (error) {
          reject(error);
        }
      };
      this.#idleWork = [...this.#idleWork, { run, fail: reject }];
      this.wake();
    });
  }

  /** Fails what it holds; it takes nothing any more. */
  close(error: unknown): void {
    this.#closed ??= { error };
    this.#failAll(error);
  }

  wake(): void {
    this.#running ??= this.#run().catch((error: unknown) => this.#team.close(error)); // a broken invariant
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
    if (this.#closed !== undefined) return false;
    const mustReplace = this.state === "lost" && this.#team.hasWork();
    return this.hasOwnWork() || mustReplace || this.#team.isTurnOf(this);
  }

  /** A worker that wants to leave is not waited for: it may end at any moment. */
  get #hasLeft(): boolean {
    return this.supervisor.worker.isLeaving === true && this.#isIdle && this.#pixels.isEmpty;
  }

  get #isIdle(): boolean {
    return this.#admission.isEmpty;
  }

  /** One forward of the live images, and what must come before it. @throws WorkerLost */
  async #turn(): Promise<void> {
    this.#admission.dropLeavers();
    this.#checkWorker();
    this.#pixels.ask(this.supervisor.worker, this.#isIdle);
    await this.#admit();
    const batch = this.#stepper.nextBatch();
    await this.#rebuild(batch.filter(needsBranches), leftOutBranches);
    await this.#stepper.step(batch);
    if (this.#isIdle) await this.#workWhileIdle();
    if (!this.#team.queue.isEmpty) this.#team.wake(); // images may have left, here or into the queue
  }

  async #workWhileIdle(): Promise<void> {
    const [next] = this.#idleWork;
    if (next === undefined || this.#team.isTurnOf(this)) return;
    this.#isLent = true;
    await next.run();
    this.#isLent = false;
    this.#idleWork = this.#idleWork.filter((other) => other !== next);
  }

  /**
   * Gives cache rows to the images that wait, as far as they suffice. Those that have K/V in their books get them: of what a
   * lost worker held, or of a prefix.
   */
  async #admit(): Promise<void> {
    const lacking: LiveImage[] = [];
    while (this.#team.isTurnOf(this)) {
      const image = this.#team.queue.next as Image;
      const live = await this.#start(image);
      if (live?.state.written.prompt) lacking.push(live);
    }
    for (const { live, forwardCount } of await this.#rebuild(lacking, branchesOf))
      if (live.state.forwardCount > 0) live.image.job.onWorkerRestored(forwardCount);
  }

  /** Undefined where the image has left or must wait for memory. */
  async #start(image: Image): Promise<LiveImage | undefined> {
    const cacheRows = this.#admission.admit(image);
    const sequence = this.#nextSequence++;
    if (image.state === undefined && image.lossCount === 0) image.job.onStart();
    try {
      const request = holdPrompt(this.supervisor.worker, image, sequence, cacheRows);
      const live = await answerOf(this.supervisor, request, [image]);
      if (image.hasLeft) return undefined; // the loop was closed
      this.#admission.goLive(live);
      return live;
    } catch (error) {
      const isShortOfMemory = isOutOfMemory(error) && this.imageCount > 1;
      if (error instanceof WorkerLost || isShortOfMemory)
        this.#admission.putBack(image, cacheRows, { isShortOfMemory });
      else this.#admission.refuse(image, cacheRows, error);
      if (error instanceof WorkerLost) throw error;
      return undefined;
    }
  }

  /** Writes K/V of some branches again; returns the images for which that was done. */
  async #rebuild(lacking: readonly LiveImage[], branches: (live: LiveImage) => readonly number[]) {
    const rebuilt: { readonly live: LiveImage; readonly forwardCount: number }[] = [];
    for (const group of rebuildGroups(lacking)) {
      const sequences = group.map((live) => rebuildRequest(live, branches(live)));
      const request = rebuildCache(this.supervisor.worker, sequences);
      const { forwardCount, failures } = await answerOf(this.supervisor, request, group.map(imageOf));
      for (const live of group.filter(isPresent)) {
        if (failures.has(live.sequence)) this.#admission.fail(live.image, failures.get(live.sequence));
        else rebuilt.push({ live, forwardCount });
      }
    }
    for (const { live } of rebuilt) live.lacksBranches = branchesOf(live).length < live.cacheRows.length;
    return rebuilt;
  }

  /** Gives the images of a lost worker to whoever has room for them, and puts another worker in its place. */
  async #recover({ reason, images }: WorkerLost): Promise<void> {
    this.#isReplacing = true;
    this.#stepper.deliver();
    for (const image of this.supervisor.worker.isLeaving ? [] : images) {
      const last = countLoss(image, reason);
      if (last !== undefined && !image.hasLeft) this.#admission.fail(image, last);
    }
    for (const { job } of this.#admission.returnLive()) job.onWorkerLost(reason);
    try {
      this.#team.wake();
      if (!this.#team.hasWork()) return; // the next image will ask for a worker
      await this.supervisor.replace();
      this.#admission.resize(this.supervisor.worker.cacheRowCount);
      this.#stepper.forgetLimits();
    } catch (error) {
      this.#isGone = true;
      this.#isVacant = isVacancy(error);
      this.#failIdleWork(error);
      this.#team.giveUp(this, error);
    } finally {
      this.#isReplacing = false;
    }
    this.#team.wake();
  }

  /** @throws WorkerLost where the worker was lost while nothing was asked of it */
  #checkWorker(): void {
    const loss = this.supervisor.failure() ?? (this.#hasLeft ? workerLeft() : undefined);
    if (loss !== undefined) throw new WorkerLost(loss, []);
  }

  #failAll(error: unknown): void {
    this.#admission.failAll(error);
    this.#failIdleWork(error);
    this.#pixels.close(error);
  }

  #failIdleWork(error: unknown): void {
    for (const work of this.#idleWork) work.fail(error);
    this.#idleWork = [];
  }
}
