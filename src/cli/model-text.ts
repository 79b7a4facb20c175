import { deviceCount } from "../api/device-name.ts";
import { type CardGrid, sizeName } from "../api/image-size.ts";
import { estimateMemory, largestImageCount, weightBytesOf } from "../api/inspect-model.ts";
import type { ModelDescription } from "../decode/worker-source.ts";
import type { ModelCard } from "../protocol/messages.ts";

const LABEL_WIDTH = 17;
/** Up to so many sizes each has a line of its own. */
const LISTED_SIZES = 16;

/** What a checkpoint is, knows and needs, as text of at most `width` columns where that is possible. */
export function describeModel(
  model: string,
  description: ModelDescription,
  images: readonly number[],
  width: number,
): string {
  const { card } = description;
  const rows: readonly (readonly [string, string | readonly string[]])[] = [
    ["model", model],
    ["family", `${card.family}, ${parameters(card.parameterCount)}`],
    ["made for", conditioning(card, width - LABEL_WIDTH)],
    [card.grids.length === 1 ? "size" : "sizes", sizes(card.grids, width - LABEL_WIDTH)],
    ["defaults", defaults(card)],
    ["tokens", tokens(card)],
    ["weights", weights(description)],
    ["K/V cache", cache(description)],
    ["memory", memory(description, images)],
  ];
  return [
    card.name,
    "",
    ...rows.flatMap(([label, text]) =>
      [text].flat().map((line, k) => `${(k === 0 ? label : "").padEnd(LABEL_WIDTH)}${line}`.trimEnd()),
    ),
  ].join("\n");
}

function parameters(count: number): string {
  const [divisor, unit] = count >= 1e9 ? [1e9, "billion"] : count >= 1e6 ? [1e6, "million"] : [1, ""];
  return `${Number((count / divisor).toPrecision(3))} ${unit} parameters`.replace("  ", " ");
}

function conditioning({ conditioning: kind }: ModelCard, width: number): readonly string[] {
  if (kind.type === "text") {
    const prompts = `text prompts of up to ${kind.maxPromptTokens} tokens`;
    return kind.negativePrompt === null
      ? [`${prompts}; it takes no negative prompt`]
      : [
          `${prompts}; negative prompt by default:`,
          ...wrapped(JSON.stringify(kind.negativePrompt).split(" "), " ", width),
        ];
  }
  const { classCount, classNames } = kind;
  if (classNames === null) return [`classes 0 to ${classCount - 1}`];
  return [
    `${classCount} classes:`,
    ...wrapped(
      classNames.map((name, k) => `${k} ${name}`),
      ", ",
      width,
    ),
  ];
}

function sizes(grids: readonly CardGrid[], width: number): readonly string[] {
  const named = grids.map(sizeName);
  if (grids.length > LISTED_SIZES) return wrapped(named, ", ", width);
  const nameWidth = Math.max(...named.map((name) => name.length));
  return grids.map(
    ({ rows, columns }, k) =>
      `${(named[k] as string).padEnd(nameWidth)}  ${rows} rows of ${columns} tokens${k === 0 && grids.length > 1 ? ", the default" : ""}`,
  );
}

function defaults({ defaults: { guidanceScale, temperature, topK, topP, window } }: ModelCard): string {
  return [
    `guidance ${guidanceScale === 1 ? "off" : guidanceScale}`,
    `temperature ${temperature}`,
    `top-k ${topK === 0 ? "off" : topK}`,
    `top-p ${topP === 1 ? "off" : topP}`,
    `window ${window}`,
  ].join(", ");
}

function tokens({ codeCount, rowEnd, imageDecoder }: ModelCard): string {
  const rows = rowEnd === "token" ? ", a row-end token after each row" : "";
  const pixels =
    imageDecoder === null
      ? "no image tokenizer found: tokens only (see --vq)"
      : `${imageDecoder.pixelsPerToken} x ${imageDecoder.pixelsPerToken} pixels each`;
  return `${codeCount} codes${rows}; ${pixels}`;
}

function weights(description: ModelDescription): string {
  const parts = description.weights.map(({ part, bytes }) => `${part} ${byteCount(bytes)}`);
  const total = description.weights.length > 1 ? `, ${byteCount(weightBytesOf(description))} in all` : "";
  return `${parts.join(", ")}${total}`;
}

function cache({ card, slotCount, cacheBytesPerImage }: ModelDescription): readonly string[] {
  const branches = card.branches.length === 1 ? "one branch" : `${card.branches.length} branches`;
  return [
    `${byteCount(card.kvBytesPerSlot)} a slot, at most ${slotCount} slots a branch`,
    `${branches} (${card.branches.join(", ")}), ${byteCount(cacheBytesPerImage)} an image`,
  ];
}

function memory(description: ModelDescription, images: readonly number[]): readonly string[] {
  const { device, dtype, freeBytes } = description;
  const largest = largestImageCount(description);
  const free = freeBytes === null ? "free memory unknown" : `${byteCount(freeBytes)} free`;
  const limit =
    largest === undefined
      ? ""
      : `; ${largest === 0 ? "not even one image fits" : `${largest} images at a time fit`}`;
  return [
    `on ${deviceCount(device) > 1 ? "each of " : ""}${device}, ${dtype}, ${free}${limit}`,
    ...images.map((count) => {
      const { totalBytes, fits } = estimateMemory(description, count);
      const verdict = fits === null ? "" : fits ? "  fits" : "  does not fit";
      const what = count === 1 ? "image" : "images";
      return `${String(count).padStart(4)} ${what.padEnd(6)} ${byteCount(totalBytes).padStart(10)}${verdict}`;
    }),
  ];
}

export function byteCount(bytes: number): string {
  const units = ["bytes", "KiB", "MiB", "GiB", "TiB"];
  const power = bytes < 1 ? 0 : Math.min(units.length - 1, Math.floor(Math.log2(bytes) / 10));
  const count = bytes / 1024 ** power;
  return `${power === 0 ? count : Number(count.toPrecision(3))} ${units[power]}`;
}

/** Words on lines of at most `width` columns. */
function wrapped(words: readonly string[], separator: string, width: number): readonly string[] {
  const lines: string[] = [];
  for (const [k, word] of words.entries()) {
    const text = k === words.length - 1 ? word : `${word}${separator.trimEnd()}`;
    const last = lines.at(-1);
    if (last !== undefined && last.length + 1 + text.length <= width)
      lines[lines.length - 1] = `${last} ${text}`;
    else lines.push(text);
  }
  return lines;
}
