import { Readable } from "node:stream";
import { ZiparError } from "../errors.ts";
import type { PictureSettings } from "../picture/settings.ts";
import type { Window } from "../schedule/window.ts";
import type { GeneratedImage } from "./image.ts";

export type GenerationEvent =
  /** One forward was committed. `cells` are the tokens that it decoded. */
  | {
      readonly type: "step";
      readonly forward: number;
      readonly cells: readonly { readonly row: number; readonly column: number; readonly token: number }[];
      readonly decodedCount: number;
      readonly tokenCount: number;
    }
  | {
      readonly type: "draft-accepted" | "draft-rejected";
      readonly row: number;
      /** Tokens of the row above that the draft had seen. */
      readonly window: number;
      readonly token: number;
    }
  /** A preview; `decoded` has a 1 for each decoded cell, in raster order, and the pixels of the others are grey. */
  | {
      readonly type: "partial-image";
      readonly image: GeneratedImage;
      readonly forward: number;
      readonly decoded: Uint8Array;
    }
  /** The worker was lost; the image goes on at the same forward in another one. */
  | { readonly type: "worker-lost"; readonly reason: ZiparError }
  /** Another worker holds the image again; so many forwards, shared with other images, rebuilt its K/V. */
  | { readonly type: "worker-restored"; readonly rebuildForwards: number }
  | { readonly type: "image"; readonly result: GenerationResult };

export interface GenerationStats {
  /**
   * Transformer forwards, prefill included. Those that write the K/V of a `prefix`, of up to 1024 positions each and shared
   * with other images, are not counted, and neither are those of rebuilds.
   */
  readonly forwards: number;
  /** Those of plain decoding at the same window: without lookahead, and without guesses in a guessed window. */
  readonly plainForwards: number;
  readonly guesses: {
    readonly fed: number;
    /** Those that were right, and spared a forward of their own. */
    readonly held: number;
  };
  /** That were decoded; those of a `prefix` are not. */
  readonly tokens: number;
  /** What the prompt takes in the sequence, in slots. */
  readonly promptTokens: number;
  /** Forwards of next-token order: one per sequence position of the image, below a `prefix`. */
  readonly nextTokenForwards: number;
  /** `1 - forwards / nextTokenForwards`. */
  readonly reduction: number;
  /** From the first forward's start to the finished picture, in ms. */
  readonly wallMs: number;
  /** Workers that were lost and replaced while this image was decoded. */
  readonly restarts: number;
}

/** What the adaptive window did, row by row. */
export interface AdaptiveReport {
  readonly min: number;
  readonly verification: "overlapped" | "sequential";
  readonly test: "rejection" | "coupled";
  /** Window at which each row after the first opened. */
  readonly openedAt: readonly number[];
  readonly draftCount: number;
  readonly rejectedCount: number;
}

/** What a generation is finished with, beside its picture. */
export type GenerationFields = Omit<GenerationResult, "image">;

/** A finished generation. */
export class GenerationResult {
  readonly seed: number;
  readonly rows: number;
  readonly columns: number;
  readonly window: Window;
  /** Rows of codebook indices. */
  readonly tokens: readonly (readonly number[])[];
  readonly stats: GenerationStats;
  /** How it was made, as plain data: `engine.generate(settings.options)` makes it again. */
  readonly settings: PictureSettings;
  readonly adaptive?: AdaptiveReport;
  readonly #image: GeneratedImage | undefined;

  /** @internal */
  constructor(fields: GenerationFields, image: GeneratedImage | undefined) {
    this.seed = fields.seed;
    this.rows = fields.rows;
    this.columns = fields.columns;
    this.window = fields.window;
    this.tokens = fields.tokens;
    this.stats = fields.stats;
    this.settings = fields.settings;
    if (fields.adaptive !== undefined) this.adaptive = fields.adaptive;
    this.#image = image;
  }

  /** @throws ZiparError `no-image-decoder` when the generation was asked for tokens only */
  get image(): GeneratedImage {
    if (this.#image !== undefined) return this.#image;
    throw new ZiparError({
      code: "no-image-decoder",
      message: "this generation has no picture: it was asked for with `image: false`",
    });
  }
}

/**
 * A running generation: await it for its result, or iterate over its events.
 * It runs whether or not anybody listens. Leaving its iterator early cancels it.
 */
export class Generation implements PromiseLike<GenerationResult>, AsyncIterable<GenerationEvent> {
  readonly #result: Promise<GenerationResult>;
  readonly #listeners = new Set<Readable>();
  readonly #cancel: () => void;

  /** @internal */
  constructor(
    run: (emit: (event: GenerationEvent) => void) => Promise<GenerationResult>,
    cancel: () => void,
  ) {
    this.#cancel = cancel;
    this.#result = run((event) => {
      for (const listener of this.#listeners) listener.push(event);
    });
    this.#result.catch(() => {}); // a caller who only iterates gets the error there
  }

  // biome-ignore lint/suspicious/noThenProperty: a generation is awaited for its result
  then<Value = GenerationResult, Failure = never>(
    onFulfilled?: ((result: GenerationResult) => Value | PromiseLike<Value>) | null,
    onRejected?: ((error: unknown) => Failure | PromiseLike<Failure>) | null,
  ): Promise<Value | Failure> {
    return this.#result.then(onFulfilled, onRejected);
  }

  catch<Failure = never>(
    onRejected?: ((error: unknown) => Failure | PromiseLike<Failure>) | null,
  ): Promise<GenerationResult | Failure> {
    return this.#result.catch(onRejected);
  }

  finally(onFinally?: (() => void) | null): Promise<GenerationResult> {
    return this.#result.finally(onFinally);
  }

  /** Events from now on, the last of them `image`. */
  [Symbol.asyncIterator](): AsyncIterator<GenerationEvent, void, void> {
    const events = new Readable({ objectMode: true, read() {} });
    this.#listeners.add(events);
    events.once("close", () => {
      this.#listeners.delete(events);
      this.#cancel(); // does nothing to a generation that is done
    });
    this.#result.then(
      (result) => {
        events.push({ type: "image", result } satisfies GenerationEvent);
        events.push(null);
      },
      (error: Error) => events.destroy(error),
    );
    return events[Symbol.asyncIterator]() as AsyncIterator<GenerationEvent, void, void>;
  }
}
