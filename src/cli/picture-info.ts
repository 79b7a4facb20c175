import { windowName } from "../api/window-name.ts";
import { ZiparError } from "../errors.ts";
import type { PicturePart } from "../picture/part.ts";
import { escapeUnprintable } from "../picture/plain-text.ts";
import { readPictureSettings } from "../picture/read.ts";
import type { PictureSettings } from "../picture/settings.ts";
import type { ValuesOf } from "./option.ts";
import type { INFO } from "./options.ts";

const LABEL_WIDTH = 17;

/** `zipar info PICTURE`: how zipar made it. */
export async function runPictureInfo(
  path: string,
  { json }: ValuesOf<typeof INFO>,
  typed: ReadonlySet<string>,
): Promise<void> {
  if (typed.has("model")) {
    throw new ZiparError({
      code: "invalid-options",
      message: `info shows a picture (${path}) or a checkpoint (--model); leave one of them out`,
    });
  }
  const settings = await readPictureSettings(path);
  process.stdout.write(
    `${json ? escapeUnprintable(JSON.stringify(settings)) : describeSettings(path, settings)}\n`,
  );
}

function describeSettings(path: string, settings: PictureSettings): string {
  const { options, card, zipar, dtype, weights, kvCache, device, forwards, tokens } = settings;
  const { size, window, lookahead, guidanceScale, guidanceInterval, temperature, topK, topP } = options;
  const rows: readonly (readonly [string, string | undefined])[] = [
    ["prompt", options.prompt],
    ["class", options.classLabel === undefined ? undefined : `${options.classLabel} ${card.className ?? ""}`],
    ["negative prompt", options.negativePrompt],
    ["model", `${card.name}, ${card.family}: ${partName(settings.model)}`],
    ["image tokenizer", settings.vq && partName(settings.vq)],
    ["text encoder", settings.textEncoder && partName(settings.textEncoder)],
    ["weights key", settings.weightsKey],
    ["seed", String(options.seed)],
    ["size", `${size.width}x${size.height}`],
    ["prefix", options.prefix && `the first ${options.prefix.tokens.length} rows were given`],
    ["window", `${windowName(window)}, lookahead ${lookahead}: ${forwards} forwards`],
    ["tokens", tokens && `${tokens.rows} x ${tokens.columns} (rows x columns), from which --prefix goes on`],
    ["guidance", `${guidanceScale}${intervalText(guidanceInterval)}`],
    ["sampling", `temperature ${temperature}, top-k ${topK || "off"}, top-p ${topP === 1 ? "off" : topP}`],
    [
      "computed",
      `in ${[dtype, weights && `${weights} weights`, kvCache && `${kvCache} K/V`].filter(Boolean).join(", ")} on ${device}, by zipar ${zipar}`,
    ],
  ];
  return rows
    .filter(([, text]) => text !== undefined)
    .map(([label, text]) => escapeUnprintable(`${label.padEnd(LABEL_WIDTH)}${text}`).trimEnd())
    .concat(`make it again:   zipar generate --like ${path}`)
    .join("\n");
}

function intervalText([from, to]: readonly [number, number]): string {
  return from === 0 && to === 1 ? "" : `, from ${from} to ${to} of the cells`;
}

function partName(part: PicturePart): string {
  return "reference" in part ? part.reference : `a file of its maker, ${part.file}`;
}
