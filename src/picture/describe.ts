import type { ResolvedGeneration } from "../api/generate-options.ts";
import type { ModelCard } from "../protocol/messages.ts";
import type { SequenceState } from "../schedule/sequence-state.ts";
import { tokenRows } from "../schedule/token-rows.ts";
import type { Window } from "../schedule/window.ts";
import { VERSION } from "../version.ts";
import { describePart, withoutFolders } from "./part.ts";
import { packTokens } from "./picture-tokens.ts";
import { toPlainText } from "./plain-text.ts";
import type { PictureSettings } from "./settings.ts";

/** What made a picture: the files that the engine was given, and what became of them. */
export interface PictureMaker {
  readonly model: string;
  readonly vq?: string | undefined;
  readonly textEncoder?: string | undefined;
  readonly weightsKey?: string | undefined;
  readonly card: ModelCard;
  readonly device: string;
  readonly dtype: string;
  readonly weights: "full" | "int8";
  readonly kvCache: "full" | "int8";
}

/** How a picture was made. Nothing in it tells where files lie on this machine. */
export function describePicture(
  maker: PictureMaker,
  request: ResolvedGeneration,
  { forwardCount, tokens, codeCount }: Pick<SequenceState, "forwardCount" | "tokens" | "codeCount">,
): PictureSettings {
  const { card, vq, textEncoder, weightsKey } = maker;
  const { conditioning, sampling, lookahead, guidanceInterval, seed, surrogate, refreshRowEnds } = request;
  const { prefix, grid } = request;
  const packed = packTokens(tokens, grid, codeCount);
  const names = card.conditioning.type === "class" ? card.conditioning.classNames : null;
  const className = conditioning.type === "class" ? names?.[conditioning.classIndex] : undefined;
  return {
    version: 1,
    zipar: VERSION,
    // The stub model loads nothing, whatever its engine was given.
    model: card.family === "stub" ? { file: "stub" } : describePart(maker.model),
    ...(vq === undefined ? {} : { vq: describePart(vq) }),
    ...(textEncoder === undefined ? {} : { textEncoder: describePart(textEncoder) }),
    ...(weightsKey === undefined ? {} : { weightsKey: toPlainText(weightsKey, 128) }),
    card: {
      family: toPlainText(card.family, 64),
      name: toPlainText(withoutFolders(card.name), 256),
      ...(className === undefined ? {} : { className: toPlainText(className, 256) }),
    },
    device: toPlainText(maker.device, 128),
    dtype: maker.dtype,
    ...(maker.weights === "full" ? {} : { weights: maker.weights }),
    ...(maker.kvCache === "full" ? {} : { kvCache: maker.kvCache }),
    options: {
      ...subjectOf(conditioning),
      size: sizeOf(request, card),
      ...(prefix === undefined ? {} : { prefix: { tokens: tokenRows(prefix, grid.columns) } }),
      window: windowOption(request.window),
      lookahead,
      ...sampling,
      guidanceInterval,
      seed,
      surrogate,
      refreshRowEnds,
    },
    forwards: forwardCount,
    ...(packed === undefined ? {} : { tokens: packed }),
  };
}

function subjectOf(conditioning: ResolvedGeneration["conditioning"]) {
  if (conditioning.type === "class") return { classLabel: conditioning.classIndex };
  const { prompt, negativePrompt } = conditioning;
  return negativePrompt === null ? { prompt } : { prompt, negativePrompt };
}

function sizeOf({ grid: { rows, columns } }: ResolvedGeneration, { grids }: ModelCard) {
  const grid = grids.find((grid) => grid.rows === rows && grid.columns === columns);
  if (grid === undefined) throw new Error("describePicture: the card does not know the grid");
  return { width: grid.width, height: grid.height };
}

function windowOption(window: Window): PictureSettings["options"]["window"] {
  return window.kind === "fixed" ? window.size : window;
}
