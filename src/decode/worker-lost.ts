import { ZiparError } from "../errors.ts";
import type { Image } from "./image.ts";
import type { Supervisor } from "./supervisor.ts";

/** Work that has cost so many workers in a row is given up, so that the other images can go on. */
export const LOSS_LIMIT = 3;

/** The worker was lost. The decode loop throws it wherever it notices, and catches it in one place. */
export class WorkerLost extends Error {
  override readonly name = "WorkerLost";
  readonly reason: ZiparError;
  /** Whose work the worker was doing: each of them may be at fault. */
  readonly images: readonly Image[];

  constructor(reason: ZiparError, images: readonly Image[]) {
    super(reason.message, { cause: reason });
    this.reason = reason;
    this.images = images;
  }
}

/** What a request about these images resolves to. @throws WorkerLost, or what the worker refused it with */
export async function answerOf<Reply>(
  supervisor: Supervisor,
  request: Promise<Reply>,
  images: readonly Image[],
): Promise<Reply> {
  try {
    return await request;
  } catch (error) {
    const loss = supervisor.failure();
    throw loss === undefined ? error : new WorkerLost(loss, images);
  }
}

/** Whether the next loss over this image's work is the last one: it is worked on alone, to see whether it is at fault. */
export function isSuspect({ lossCount }: Image): boolean {
  return lossCount === LOSS_LIMIT - 1;
}

/** Books a loss over an image's work; the error with which the image is given up, if this one was too many. */
export function countLoss(image: Image, reason: ZiparError): ZiparError | undefined {
  image.lossCount += 1;
  if (image.lossCount < LOSS_LIMIT) return undefined;
  const { state } = image;
  const work = state === undefined ? "encoding a prompt" : `forward ${state.forwardCount + 1} of an image`;
  return lostTooOften(work, image.lossCount, reason);
}

/** What a worker is lost to that was asked to leave. */
export function workerLeft(): ZiparError {
  return new ZiparError({
    code: "worker-died",
    message: "the worker was asked to leave, and holds no images",
  });
}

/** The error of work that is given up. */
export function lostTooOften(work: string, count: number, reason: ZiparError): ZiparError {
  return new ZiparError({
    code: "worker-died",
    message: `${work} has cost ${count} workers in a row and is given up; the last one: ${reason.message}`,
    details: reason.details,
    cause: reason,
  });
}
