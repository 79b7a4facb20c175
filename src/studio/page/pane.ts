import { figuresAt } from "../figures.ts";
import { durationWords, fileNameOf, rateWords, windowWords } from "../words.ts";
import { drawOverlay, type Look } from "./draw-overlay.ts";
import { create, setText } from "./element.ts";
import type { Run } from "./run.ts";

/** What the buttons of a pane do. */
export interface PaneActions {
  readonly useAgain: (run: Run) => void;
  readonly retry: (run: Run) => void;
}

/** One run on the stage: its picture, its figures and what can be done with it. */
export interface Pane {
  readonly element: HTMLElement;
  draw(forward: number, look: Look): void;
  /** It is off the stage. */
  dispose(): void;
}

export function createPane(run: Run, actions: PaneActions): Pane {
  const canvas = create("canvas", { width: 1, height: 1 });
  canvas.setAttribute("role", "img");
  const note = create("p", { className: "note", hidden: true });
  const retry = create("button", { type: "button", textContent: "Try again", hidden: true });
  const picture = create("div", { className: "picture" }, canvas, note);
  const title = create("h2", { textContent: run.title, title: run.title });
  const how = create("p", { className: "how" });
  const bars = create("div", { className: "bars" });
  const [own, other] = [bar(), bar()];
  bars.append("This picture", own.element, "Next-token order", other.element);
  bars.setAttribute("aria-hidden", "true"); // the figures say the same
  const figures = create("dl");
  const parts = ["Forwards", "Cells", "Speed", "Time"].map((name) => {
    const [term, value, detail] = [create("dt", { textContent: name }), create("strong"), create("small")];
    figures.append(create("div", {}, term, create("dd", {}, value, detail)));
    return { term, value, detail };
  });
  const download = create("a", { className: "button", textContent: "Download PNG", hidden: true });
  const again = create("button", { type: "button", textContent: "Use again", hidden: true });
  again.addEventListener("click", () => actions.useAgain(run));
  retry.addEventListener("click", () => actions.retry(run));
  const element = create(
    "article",
    { className: "pane" },
    picture,
    create("div", { className: "caption" }, title, how),
    bars,
    figures,
    create("div", { className: "actions" }, download, again, retry),
  );
  let href: string | undefined;

  function draw(forward: number, look: Look): void {
    const { decoding } = run;
    const { phase, start, failure } = decoding;
    element.dataset["phase"] = phase;
    fitCanvas(canvas, run);
    const context = canvas.getContext("2d");
    if (context !== null) drawOverlay(context, decoding, forward, look, run.underlay);
    canvas.setAttribute("aria-label", describe(run));
    setText(how, start === undefined ? "" : `Seed ${start.seed} · ${windowWords(start)}`);
    const text = noteOf(run);
    note.hidden = text === "";
    setText(note, text);
    retry.hidden = failure === undefined || run.body === undefined;
    again.hidden = run.body === undefined || !run.isOver;
    download.hidden = run.picture === undefined;
    if (run.picture !== undefined && href === undefined) {
      href = URL.createObjectURL(run.picture);
      Object.assign(download, { href, download: fileNameOf(run.title, start?.seed) });
    }
    drawFigures(forward);
  }

  function drawFigures(forward: number): void {
    const { decoding } = run;
    const now = figuresAt(decoding, forward);
    figures.hidden = bars.hidden = now === undefined;
    if (now === undefined) return;
    const total = decoding.phase === "finished" ? decoding.steps.length : undefined;
    const isEnd = total === forward;
    own.set(now.decodedCount / now.cellCount);
    other.set(Math.min(1, forward / now.nextTokenForwards));
    const ratio = now.nextTokenForward / forward;
    say(
      0,
      "Forwards",
      String(forward),
      `next-token order: ${isEnd ? now.nextTokenForwards : now.nextTokenForward}`,
    );
    say(
      1,
      "Cells",
      `${now.decodedCount}`,
      `of ${now.cellCount}${ratio >= 1.05 ? `, ${ratio.toFixed(1)} a forward` : ""}`,
    );
    const rate = now.forwardsPerSecond;
    say(
      2,
      "Speed",
      rate === undefined ? "–" : `${rateWords(rate)}/s`,
      now.guessesFed === 0
        ? "forwards"
        : `forwards; ${Math.round((100 * now.guessesHeld) / now.guessesFed)} % of guesses held`,
    );
    if (now.leftMs !== undefined) say(3, "Time left", durationWords(now.leftMs), "at this rate");
    else say(3, "Time", `${(now.elapsedMs / 1000).toFixed(1)} s`, isEnd ? "in all" : "so far");
  }

  function say(k: number, name: string, value: string, detail: string): void {
    const part = parts[k];
    if (part === undefined) return;
    setText(part.term, name);
    setText(part.value, value);
    setText(part.detail, detail);
  }

  function dispose(): void {
    if (href !== undefined) URL.revokeObjectURL(href);
  }

  return { element, draw, dispose };
}

function bar() {
  const fill = create("div", { className: "fill" });
  return {
    element: create("div", { className: "bar" }, fill),
    set: (share: number) => fill.style.setProperty("width", `${(100 * share).toFixed(2)}%`),
  };
}

/** As many pixels as the screen has there, in the shape of the picture. */
function fitCanvas(canvas: HTMLCanvasElement, { body, decoding: { start } }: Run): void {
  const [, asked] = /^(\d+x\d+)$/.exec(String(body?.["size"])) ?? [];
  const [width, height] =
    start === undefined ? (asked ?? "1x1").split("x").map(Number) : [start.grid.columns, start.grid.rows];
  if (width === undefined || height === undefined) throw new Error("fitCanvas: a size has two sides");
  canvas.style.setProperty("aspect-ratio", `${width} / ${height}`);
  canvas.style.setProperty("--shape", String(width / height));
  const pixels = Math.max(1, Math.round(canvas.clientWidth * devicePixelRatio));
  const lines = Math.max(1, Math.round((pixels * height) / width));
  if (canvas.width !== pixels || canvas.height !== lines)
    Object.assign(canvas, { width: pixels, height: lines });
}

function noteOf({ decoding: { phase, failure, losses, steps } }: Run): string {
  switch (phase) {
    case "waiting":
      return "Waiting for its turn";
    case "recovering":
      return `The worker was lost at forward ${losses.at(-1)?.forward}. Another one takes over; nothing is lost.`;
    case "cancelled":
      return steps.length === 0 ? "Cancelled" : `Cancelled at forward ${steps.length}`;
    case "failed":
      return failure?.message ?? "";
    default:
      return "";
  }
}

function describe({ title, decoding: { phase, start, steps } }: Run): string {
  const seed = start === undefined ? "" : `, seed ${start.seed}`;
  const state = phase === "finished" ? `finished in ${steps.length} forwards` : phase;
  return `${title}${seed}, ${state}`;
}
