import { windowName } from "../api/window-name.ts";
import { toPlainLines } from "./plain-text.ts";
import type { PictureSettings } from "./settings.ts";

/**
 * The settings as image tools know them from AUTOMATIC1111's web UI, which puts them under the name `parameters`: the
 * prompt, the negative prompt, and a last line of names and values. What is zipar's own has names that they show and
 * give no meaning to.
 */
export function parametersText(settings: PictureSettings): string {
  const { options, card, model, zipar, forwards } = settings;
  const { prompt, negativePrompt, size, window, lookahead, guidanceInterval } = options;
  const subject = prompt ?? card.className ?? `class ${options.classLabel}`;
  const [from, to] = guidanceInterval;
  const fields: readonly (readonly [string, string | number | undefined])[] = [
    ["Steps", forwards],
    ["Sampler", "ZipAR"],
    ["CFG scale", options.guidanceScale],
    ["Seed", options.seed],
    ["Size", `${size.width}x${size.height}`],
    ["Model", "reference" in model ? model.reference : card.name],
    ["Window", windowName(window)],
    ["Lookahead", typeof window === "number" ? lookahead : undefined],
    ["Guidance interval", from === 0 && to === 1 ? undefined : `${from}-${to}`],
    ["Prefix rows", options.prefix?.tokens.length],
    ["Temperature", options.temperature],
    ["Top-k", options.topK],
    ["Top-p", options.topP],
    ["Version", `zipar ${zipar}`],
  ];
  return [
    toPlainLines(subject),
    ...(negativePrompt === undefined ? [] : [`Negative prompt: ${toPlainLines(negativePrompt)}`]),
    fields
      .filter(([, value]) => value !== undefined)
      .map(([name, value]) => `${name}: ${quoted(String(value))}`)
      .join(", "),
  ].join("\n");
}

/** As the web UI does it: what its own separators are in is quoted. */
function quoted(value: string): string {
  return /[,:\n]/.test(value) ? JSON.stringify(value) : value;
}
