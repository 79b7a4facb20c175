import type { GenerateOptions } from "../api/generate-options.ts";
import { type WindowOption, windowName } from "../api/window-name.ts";
import type { SurrogateRule } from "../schedule/surrogate.ts";

/** What a variant does otherwise than the defaults. */
export interface Variant {
  readonly lookahead?: number;
  readonly surrogate?: SurrogateRule;
  readonly refreshRowEnds?: true;
  readonly verification?: "sequential";
  readonly test?: "coupled";
}

/** One way of decoding that is measured. */
export interface EvalSetting {
  /** As on the command line: `full`, a number, `guessed:N`, `adaptive:N` and so on. */
  readonly window: number | string;
  readonly variant: Variant;
  /** How images of this setting are asked for. */
  readonly options: Pick<GenerateOptions, "window" | "surrogate" | "refreshRowEnds" | "lookahead">;
}

export type WindowKind = "fixed" | "guessed" | "adaptive";

export function plainSetting(window: WindowOption): EvalSetting {
  return { window: windowName(window), variant: {}, options: { window } };
}

/** The same pictures in fewer forwards, under each window that has an order to look ahead in. */
export function lookaheadSettings(window: WindowOption, lookahead: number): readonly EvalSetting[] {
  const isFixed = kindOf({ window: windowName(window) }) === "fixed";
  return lookahead > 0 && isFixed ? [varied(window, { lookahead })] : [];
}

export function kindOf({ window }: Pick<EvalSetting, "window">): WindowKind {
  const [kind] = String(window).split(":");
  return kind === "guessed" || kind === "adaptive" ? kind : "fixed";
}

/** Whether a setting belongs beside its default: one that gives other pictures by another rule. */
export function isVariant(variant: Variant | undefined): boolean {
  return Object.keys(variant ?? {}).some((key) => key !== "lookahead");
}

/** `4`, or `4, surrogate above`. */
export function settingName({ window, variant }: Pick<EvalSetting, "window" | "variant">): string {
  return [
    window,
    ...Object.entries(variant).map(([key, value]) => variantWords(key as keyof Variant, value)),
  ].join(", ");
}

/**
 * Rules that are tried beside the default ones: other surrogates and refreshed row ends where rows start earliest, the
 * paper's verification order and the other test under the middle one of the adaptive windows.
 */
export function variantSettings(
  windows: readonly WindowOption[],
  rowEnd: "none" | "token",
): readonly EvalSetting[] {
  const fixed = windows.filter((window) => typeof window === "number").sort((a, b) => a - b);
  const adaptive = windows.filter((window) => kindOf({ window: windowName(window) }) === "adaptive");
  const smallest = fixed[0];
  const middle = adaptive[Math.floor((adaptive.length - 1) / 2)];
  const settings: EvalSetting[] = [];
  if (smallest !== undefined && rowEnd === "none") {
    settings.push(varied(smallest, { surrogate: "above" }), varied(smallest, { surrogate: "newest" }));
  }
  if (smallest !== undefined && rowEnd === "token") settings.push(varied(smallest, { refreshRowEnds: true }));
  if (middle !== undefined) {
    settings.push(varied(middle, { verification: "sequential" }), varied(middle, { test: "coupled" }));
  }
  return settings;
}

function varied(window: WindowOption, variant: Variant): EvalSetting {
  const { verification, test, ...others } = variant;
  const adaptive = window === "adaptive" ? { kind: window } : window;
  const isAdaptive = typeof adaptive === "object" && adaptive.kind === "adaptive";
  const changes = {
    ...(verification === undefined ? {} : { verification }),
    ...(test === undefined ? {} : { test }),
  };
  return {
    window: windowName(window),
    variant,
    options: { ...others, window: isAdaptive ? { ...adaptive, ...changes } : adaptive },
  };
}

function variantWords(key: keyof Variant, value: Variant[keyof Variant]): string {
  switch (key) {
    case "surrogate":
      return `surrogate ${value}`;
    case "refreshRowEnds":
      return "row ends refreshed";
    case "lookahead":
      return `lookahead ${value}`;
    case "verification":
    case "test":
      return String(value);
  }
}
