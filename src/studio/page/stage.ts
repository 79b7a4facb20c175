import type { Look } from "./draw-overlay.ts";
import { byId, create, setText } from "./element.ts";
import { createPane, type Pane, type PaneActions } from "./pane.ts";
import type { Run } from "./run.ts";

const MAX_RUNS = 4;
const SHORTEST_PLAY_MS = 3000;
const LONGEST_PLAY_MS = 12_000;

const LEGEND = [
  ["new", "decoded now"],
  ["guess-held", "guess that held"],
  ["guess-fell", "guess that fell"],
  ["guess-open", "open guess"],
  ["draft-held", "draft that held"],
  ["draft-refused", "draft refused"],
] as const;

/** The runs that are shown side by side, on one timeline of forwards. */
export class Stage {
  #shown: { readonly run: Run; readonly pane: Pane }[] = [];
  readonly #actions: PaneActions;
  /** Where the timeline was put by hand; undefined: it follows the newest forward. */
  #position: number | undefined;
  #look: Look = "wavefront";
  #frame = 0;
  #playing = 0;

  constructor(actions: PaneActions) {
    this.#actions = actions;
    byId("time").addEventListener("input", () => this.#seek(byId<HTMLInputElement>("time").valueAsNumber));
    byId("play").addEventListener("click", () => this.#togglePlay());
    for (const input of document.querySelectorAll<HTMLInputElement>("input[name=look]")) {
      input.addEventListener("change", () => {
        this.#look = input.value as Look;
        this.redraw();
      });
      input.checked = input.value === this.#look;
    }
    new ResizeObserver(() => this.redraw()).observe(byId("panes"));
    byId("legend").append(
      ...LEGEND.map(([kind, words]) => {
        const swatch = create("span", { className: "swatch" });
        swatch.dataset["kind"] = kind;
        swatch.setAttribute("aria-hidden", "true");
        return create("li", {}, swatch, words);
      }),
    );
  }

  get runs(): readonly Run[] {
    return this.#shown.map(({ run }) => run);
  }

  get isBusy(): boolean {
    return this.runs.some(({ isOver }) => !isOver);
  }

  get hasRoom(): boolean {
    return this.#shown.length < MAX_RUNS;
  }

  /** Takes what is there off the stage; what runs is cancelled. */
  replace(runs: readonly Run[]): void {
    for (const { run, pane } of this.#shown) {
      run.cancel();
      pane.dispose();
    }
    this.#shown = runs.map((run) => ({ run, pane: createPane(run, this.#actions) }));
    this.#reset();
  }

  add(run: Run): void {
    this.#shown.push({ run, pane: createPane(run, this.#actions) });
    this.#reset();
  }

  /** Puts another run in the place of one. */
  exchange(old: Run, run: Run): void {
    this.#shown = this.#shown.map((shown) =>
      shown.run === old ? { run, pane: createPane(run, this.#actions) } : shown,
    );
    this.#reset();
  }

  /** Soon: once for all that changes until the screen is drawn again. */
  redraw(): void {
    this.#frame ||= requestAnimationFrame(() => {
      this.#frame = 0;
      this.#draw();
    });
  }

  #reset(): void {
    this.#stop();
    this.#position = undefined;
    byId("panes").replaceChildren(...this.#shown.map(({ pane }) => pane.element));
    byId("panes").dataset["count"] = String(this.#shown.length);
    this.redraw();
  }

  #draw(): void {
    const last = Math.max(0, ...this.runs.map(({ decoding }) => decoding.steps.length));
    const position = Math.min(this.#position ?? last, last);
    for (const { run, pane } of this.#shown)
      pane.draw(Math.min(position, run.decoding.steps.length), this.#look);
    byId("empty").hidden = this.#shown.length > 0;
    byId("player").hidden = byId("under").hidden = last === 0;
    byId("legend").hidden = last === 0 || this.#look !== "wavefront";
    byId("compare").hidden = !this.hasRoom || !this.runs.some(({ body }) => body !== undefined);
    const time = byId<HTMLInputElement>("time");
    time.min = "1";
    time.max = String(Math.max(1, last));
    time.value = String(position);
    time.setAttribute("aria-valuetext", `Forward ${position} of ${last}`);
    time.style.setProperty("--played", `${(100 * (position - 1)) / Math.max(1, last - 1)}%`);
    setText(byId("time-label"), `${position} / ${last}`);
  }

  #seek(position: number): void {
    this.#stop();
    this.#position = position >= Number(byId<HTMLInputElement>("time").max) ? undefined : position;
    this.redraw();
  }

  #togglePlay(): void {
    if (this.#playing !== 0) {
      this.#stop();
      return;
    }
    const last = Math.max(0, ...this.runs.map(({ decoding }) => decoding.steps.length));
    const longest = Math.max(0, ...this.runs.map(({ decoding }) => decoding.steps.at(-1)?.atMs ?? 0));
    const durationMs = Math.min(LONGEST_PLAY_MS, Math.max(SHORTEST_PLAY_MS, longest));
    const isAtEnd = this.#position === undefined || this.#position >= last;
    const from = isAtEnd ? 1 : (this.#position ?? 1);
    const startedAt = performance.now();
    const advance = () => {
      const position = from + Math.floor(((performance.now() - startedAt) / durationMs) * last);
      this.#position = position >= last ? undefined : position;
      if (position >= last) this.#stop();
      else this.#playing = requestAnimationFrame(advance);
      this.redraw();
    };
    byId("play").setAttribute("aria-label", "Pause");
    byId("play").dataset["playing"] = "true";
    this.#playing = requestAnimationFrame(advance);
    this.#position = from;
    this.redraw();
  }

  #stop(): void {
    cancelAnimationFrame(this.#playing);
    this.#playing = 0;
    byId("play").setAttribute("aria-label", "Play");
    delete byId("play").dataset["playing"];
  }
}
