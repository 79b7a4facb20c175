import type { Engine } from "../api/engine.ts";
import type { GenerationEvent, GenerationResult } from "../api/generation.ts";
import { type CardGrid, readSize, resolveCardGrid } from "../api/image-size.ts";
import { withDetails, ZiparError } from "../errors.ts";
import type { ModelCard } from "../protocol/messages.ts";
import { untilAborted } from "../system/abort-signal.ts";
import type { ServerContext } from "./context.ts";
import type { ImageRequest } from "./image-request.ts";
import { resolveModelName } from "./model-name.ts";
import { nearestGrid } from "./nearest-grid.ts";
import { type RequestSignal, requestSignal } from "./request-signal.ts";

/** A request that was let in: it holds its places, its engine and its time until `end`. */
export interface ImageRun {
  readonly model: string;
  readonly engine: Engine;
  readonly grid: CardGrid;
  readonly signal: RequestSignal;
  /** May be called twice. */
  end(): void;
}

/** @throws ZiparError what the request is refused with, what the load of its model fails with, or why it was aborted */
export async function openRun(
  context: ServerContext,
  request: ImageRequest,
  client: AbortSignal,
): Promise<ImageRun> {
  const { pool, gates, metrics, options, stopping } = context;
  const model = resolveModelName(request.model, pool.names);
  const gate = gates.get(model);
  if (gate === undefined) throw new Error(`openRun: ${model} has no gate`);
  const ending: (() => void)[] = [];
  const end = () => {
    for (const part of ending.splice(0)) part();
  };
  try {
    ending.push(gate.enter(request.imageCount, pool.capacityOf(model), options.maxQueue));
    const signal = requestSignal(client, stopping, options.timeoutMs);
    ending.push(signal.clear);
    const holding = pool.hold(model);
    ending.push(
      () =>
        void holding.then(
          ({ release }) => release(),
          () => {},
        ),
    );
    const { engine } = await untilAborted(holding, signal.signal);
    return { model, engine, grid: gridOf(request.size, engine.card, options.unknownSize), signal, end };
  } catch (error) {
    end();
    if (ZiparError.is(error) && error.code === "queue-full") metrics.countRefusal(model);
    throw error;
  }
}

/** What is called on the way of an image. */
export interface ImageWatch {
  readonly trace?: (line: string) => void;
  onEvent?(event: GenerationEvent): Promise<void> | void;
}

/**
 * Starts image `k` of a request at once; resolves when it is finished.
 * @throws ZiparError `invalid-options`, before anything has started
 */
export function startImage(
  { gates, metrics, options }: ServerContext,
  { model, engine, grid, signal: { signal } }: ImageRun,
  request: ImageRequest,
  k: number,
  { trace, onEvent }: ImageWatch = {},
): Promise<GenerationResult> {
  const startedAt = performance.now();
  const { seed } = request.knobs;
  const generation = engine.generate({
    ...request.knobs,
    prompt: request.prompt,
    size: { width: grid.width, height: grid.height },
    seed: seed === undefined ? undefined : seed + k,
    partialImages: request.partialImages,
    trace,
    signal,
  });
  const count = (outcome: "finished" | "cancelled" | "failed", result?: GenerationResult) => {
    const seconds = (performance.now() - startedAt) / 1000;
    metrics.countImage(model, outcome, seconds, result?.stats);
    if (result !== undefined) gates.get(model)?.record(seconds);
    const { forwards } = result?.stats ?? {};
    options.logger.info(
      JSON.stringify({
        event: "image",
        model,
        outcome,
        seconds: rounded(seconds),
        seed: result?.seed,
        forwards,
      }),
    );
  };
  const finished = (async () => {
    try {
      if (onEvent !== undefined) for await (const event of generation) await onEvent(event);
      const result = await generation;
      count("finished", result);
      return result;
    } catch (error) {
      count(signal.aborted ? "cancelled" : "failed");
      throw error;
    }
  })();
  finished.catch(() => {}); // another image of the request may have failed before anybody waits for this one
  return finished;
}

/** @throws ZiparError `invalid-options` of `size`, with the sizes that the model knows */
function gridOf(size: string | undefined, card: ModelCard, unknownSize: "refuse" | "nearest"): CardGrid {
  const wanted = size === undefined ? undefined : readSize(size);
  if (unknownSize === "nearest" && wanted !== undefined) return nearestGrid(wanted, card.grids);
  try {
    return resolveCardGrid(wanted, card);
  } catch (error) {
    throw ZiparError.is(error) ? withDetails(error, { param: "size" }) : error;
  }
}

function rounded(seconds: number): number {
  return Math.round(seconds * 1000) / 1000;
}
