import type { GenerateOptions } from "./generate-options.ts";

export type WindowOption = NonNullable<GenerateOptions["window"]>;

/** A window as the command line writes it: `full`, a number, `guessed:N`, `guessed:N:R`, `adaptive:N`. */
export function windowName(window: WindowOption): number | string {
  if (typeof window !== "object") return window;
  const numbers = window.kind === "guessed" ? [window.size, window.unchanged || undefined] : [window.min];
  return [window.kind, ...numbers.filter((number) => number !== undefined)].join(":");
}
