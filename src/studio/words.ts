import type { StartEvent } from "./events.ts";

/** A time that is left, rounded so that it does not flicker: "4 s", "1 min 20 s". */
export function durationWords(ms: number): string {
  const seconds = Math.max(1, Math.round(ms / 1000));
  if (seconds < 60) return `${seconds} s`;
  const minutes = Math.floor(seconds / 60);
  const rest = Math.round((seconds % 60) / 5) * 5;
  if (minutes >= 10 || rest === 0) return `${minutes} min`;
  return rest === 60 ? `${minutes + 1} min` : `${minutes} min ${rest} s`;
}

/** Three significant digits at most. */
export function rateWords(perSecond: number): string {
  return perSecond >= 10 ? String(Math.round(perSecond)) : perSecond.toFixed(perSecond >= 1 ? 1 : 2);
}

/** How rows waited for those above: "next-token order", "window 4", "guessed window 4". */
export function windowWords({ window, grid }: Pick<StartEvent, "window" | "grid">): string {
  switch (window.kind) {
    case "fixed":
      return window.size >= grid.columns ? "next-token order" : `window ${window.size}`;
    case "guessed":
      return `guessed window ${window.size}`;
    case "adaptive":
      return `adaptive window from ${window.min}`;
  }
}

/** A shape's usual name, else its pixels alone: "768 × 432". */
export function sizeWords({ width, height }: { readonly width: number; readonly height: number }): string {
  return `${width} × ${height}`;
}

/** A name for the file of a picture: letters and digits of its prompt, and its seed. */
export function fileNameOf(title: string, seed: number | undefined): string {
  const words = title
    .normalize("NFKD")
    .replace(/[^\p{L}\p{N}]+/gu, "-")
    .replace(/^-+|-+$/g, "")
    .slice(0, 60)
    .toLowerCase();
  return `${words === "" ? "picture" : words}${seed === undefined ? "" : `-${seed}`}.png`;
}
