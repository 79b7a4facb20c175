import type { EngineOptions } from "../api/engine-options.ts";
import { ratioName } from "../api/image-size.ts";
import { estimateMemory, inspectModel, largestImageCount, weightBytesOf } from "../api/inspect-model.ts";
import type { ModelDescription } from "../decode/worker-source.ts";
import { ZiparError } from "../errors.ts";
import { interruptSignal } from "./interrupt.ts";
import { describeModel } from "./model-text.ts";
import { progressBar } from "./progress.ts";
import { stderrLogger } from "./stderr-logger.ts";

/** Command-line options, as commander gives them. */
export interface InfoArguments {
  readonly model: string;
  readonly vq?: string;
  readonly textEncoder?: string;
  readonly size?: { readonly width: number; readonly height: number };
  readonly images: readonly number[];
  readonly device: string;
  readonly dtype: NonNullable<EngineOptions["dtype"]>;
  readonly json?: boolean;
  readonly verbose?: boolean;
}

/** `zipar info`: what a checkpoint is, knows and needs, without loading it. */
export async function runInfo(options: InfoArguments): Promise<void> {
  const { model, images, json } = options;
  const stray = images.find((count) => count < 1);
  if (stray !== undefined) {
    throw new ZiparError({
      code: "invalid-options",
      message: `--images ${images.join(",")}: expected counts of at least 1, received ${stray}`,
    });
  }
  const description = await inspect(options);
  process.stdout.write(
    json
      ? `${JSON.stringify(modelReport(model, description, images))}\n`
      : `${describeModel(model, description, images, process.stdout.columns ?? 100)}\n`,
  );
}

async function inspect(options: InfoArguments): Promise<ModelDescription> {
  const bar = progressBar("reading");
  try {
    return await inspectModel({
      model: options.model,
      device: options.device,
      dtype: options.dtype,
      vq: options.vq,
      textEncoder: options.textEncoder,
      size: options.size,
      logger: options.verbose ? stderrLogger : undefined,
      signal: interruptSignal(),
      onProgress: ({ phase, completed, total, unit }) => {
        if (total !== null) bar.update(completed, total, `${phase} (${unit})`);
      },
    });
  } finally {
    bar.stop();
  }
}

/** The JSON of `zipar info --json`; docs/models/README.md says what its fields mean. */
export function modelReport(model: string, description: ModelDescription, images: readonly number[]) {
  const { card, device, dtype, weights, slotCount, cacheBytesPerImage, freeBytes } = description;
  return {
    model,
    family: card.family,
    name: card.name,
    parameterCount: card.parameterCount,
    conditioning: card.conditioning,
    grids: card.grids.map(({ width, height, rows, columns }) => ({
      width,
      height,
      ratio: ratioName({ width, height }),
      rows,
      columns,
    })),
    defaults: card.defaults,
    codeCount: card.codeCount,
    rowEnd: card.rowEnd,
    branches: card.branches,
    imageDecoder: card.imageDecoder,
    device,
    dtype,
    kvBytesPerSlot: card.kvBytesPerSlot,
    slotCount,
    cacheBytesPerImage,
    weights,
    weightBytes: weightBytesOf(description),
    freeBytes,
    largestImageCount: largestImageCount(description) ?? null,
    memory: images.map((count) => estimateMemory(description, count)),
  };
}
