import { ratioName } from "../api/image-size.ts";
import { estimateMemory, inspectModel, largestImageCount, weightBytesOf } from "../api/inspect-model.ts";
import type { ModelDescription } from "../decode/worker-source.ts";
import { interruptSignal } from "./interrupt.ts";
import { loadingOptions } from "./loading.ts";
import { describeModel } from "./model-text.ts";
import type { ValuesOf } from "./option.ts";
import type { INFO } from "./options.ts";
import { showProgress } from "./progress.ts";

/** `zipar info`: what a checkpoint is, knows and needs, without loading it. */
export async function runInfo(options: ValuesOf<typeof INFO>): Promise<void> {
  const { model, images, json } = options;
  const description = await inspect(options);
  process.stdout.write(
    json
      ? `${JSON.stringify(modelReport(model, description, images))}\n`
      : `${describeModel(model, description, images, process.stdout.columns ?? 100)}\n`,
  );
}

async function inspect(options: ValuesOf<typeof INFO>): Promise<ModelDescription> {
  const progress = showProgress();
  try {
    return await inspectModel({
      ...loadingOptions(options, progress, "reading"),
      size: options.size,
      signal: interruptSignal(),
    });
  } finally {
    progress.stop();
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
