import { type Decoding, isOver, NOTHING_DECODED, recordedDecoding, reduceDecoding } from "../decoding.ts";
import type { PictureData, StudioEvent } from "../events.ts";
import type { RequestBody } from "../wish.ts";
import { makePicture } from "./api.ts";
import type { Underlay } from "./draw-overlay.ts";

/** One picture on the stage: one that is made, one of the gallery, or a trace that is played. */
export class Run {
  readonly title: string;
  /** What it was asked for; undefined for a trace. */
  readonly body: RequestBody | undefined;
  decoding: Decoding;
  /** The finished one: PNG, with how it was made. */
  picture: Blob | undefined;
  underlay: Underlay | undefined;
  readonly #abort = new AbortController();
  readonly #onChange: (run: Run) => void;

  private constructor(
    title: string,
    body: RequestBody | undefined,
    decoding: Decoding,
    onChange: (run: Run) => void,
  ) {
    this.title = title;
    this.body = body;
    this.decoding = decoding;
    this.#onChange = onChange;
  }

  /** Asks the server for a picture. */
  static make(title: string, body: RequestBody, onChange: (run: Run) => void): Run {
    const run = new Run(title, body, NOTHING_DECODED, onChange);
    void makePicture(body, run.#abort.signal, (event) => run.#take(event));
    return run;
  }

  /** Shows what was recorded; a trace has no picture. */
  static recorded(
    title: string,
    body: RequestBody | undefined,
    events: readonly StudioEvent[],
    picture: Blob | undefined,
    onChange: (run: Run) => void,
  ): Run {
    const run = new Run(title, body, recordedDecoding(events), onChange);
    if (picture !== undefined) run.#finish(picture);
    return run;
  }

  get isOver(): boolean {
    return isOver(this.decoding);
  }

  get seed(): number | undefined {
    return this.decoding.start?.seed;
  }

  cancel(): void {
    if (!this.isOver) this.#abort.abort();
  }

  #take(event: StudioEvent): void {
    if (this.isOver) return;
    this.decoding = reduceDecoding(this.decoding, event);
    if (event.type === "partial-image") void this.#show(blobOf(event), event.forward);
    if (event.type === "image") this.#finish(blobOf(event));
    this.#onChange(this);
  }

  #finish(picture: Blob): void {
    this.picture = picture;
    void this.#show(picture, Number.POSITIVE_INFINITY);
  }

  async #show(picture: Blob, forward: number): Promise<void> {
    const bitmap = await createImageBitmap(picture);
    if (this.underlay !== undefined && this.underlay.forward > forward) return; // it came later
    this.underlay?.bitmap.close();
    this.underlay = { bitmap, forward };
    this.#onChange(this);
  }
}

function blobOf({ b64_json, format }: PictureData): Blob {
  return new Blob([Uint8Array.from(atob(b64_json), (character) => character.charCodeAt(0))], {
    type: `image/${format}`,
  });
}
