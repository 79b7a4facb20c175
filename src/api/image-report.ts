import type { PictureSettings } from "../picture/settings.ts";
import type { GenerationResult } from "./generation.ts";

/** What makes the same image again, and what it took, as plain data. */
export interface ImageReport {
  readonly seed: number;
  /** As an option of `generate`. */
  readonly window: PictureSettings["options"]["window"];
  readonly forwards: number;
  readonly nextTokenForwards: number;
  readonly wallMs: number;
}

export function reportImage({ seed, settings, stats }: GenerationResult): ImageReport {
  const { forwards, nextTokenForwards, wallMs } = stats;
  return { seed, window: settings.options.window, forwards, nextTokenForwards, wallMs: Math.round(wallMs) };
}
