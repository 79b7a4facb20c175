import { writeFileSync } from "node:fs";
import { join } from "node:path";
import type { EngineOptions } from "../api/engine-options.ts";
import { drawLocalitySvg } from "../drawings/locality-svg.ts";
import { renderSvg } from "../drawings/svg-png.ts";
import { profileLocality } from "../profile/measure.ts";
import type { LocalityReport } from "../profile/report.ts";
import { drawLocalityTable } from "../profile/report-table.ts";
import { interruptSignal } from "./interrupt.ts";
import { makeFolder } from "./output.ts";
import { progressBar } from "./progress.ts";
import { stderrLogger } from "./stderr-logger.ts";

/** Command-line options, as commander gives them. */
export interface ProfileArguments {
  readonly model: string;
  readonly vq?: string;
  readonly textEncoder?: string;
  readonly windowQuantile: number;
  readonly samples?: number;
  readonly prompt?: readonly string[];
  readonly seed: number;
  readonly device: string;
  readonly dtype: NonNullable<EngineOptions["dtype"]>;
  readonly out: string;
  readonly json?: boolean;
  readonly verbose?: boolean;
}

/** `zipar profile`: how local the attention is, as a table, JSON and a picture. */
export async function runProfile(options: ProfileArguments): Promise<void> {
  const { out, json } = options;
  makeFolder(out);
  const report = await measure(options);
  const table = drawLocalityTable(report);
  const svg = drawLocalitySvg(report);
  writeFileSync(join(out, "locality.json"), `${JSON.stringify(report)}\n`);
  writeFileSync(join(out, "locality.md"), table);
  writeFileSync(join(out, "locality.svg"), svg);
  await (await renderSvg(svg)).png().toFile(join(out, "locality.png"));
  process.stdout.write(
    json ? `${JSON.stringify(report)}\n` : `${table}\ntable, JSON and picture in ${out}\n`,
  );
}

async function measure(options: ProfileArguments): Promise<LocalityReport> {
  const {
    model,
    windowQuantile,
    seed,
    samples,
    prompt = [],
    vq,
    textEncoder,
    device,
    dtype,
    verbose,
  } = options;
  let bar = progressBar("loading");
  let shown = "loading";
  const show = (stage: string, completed: number, total: number, note: string) => {
    if (stage !== shown) {
      bar.stop();
      bar = progressBar(stage);
      shown = stage;
    }
    bar.update(completed, total, note);
  };
  try {
    return await profileLocality({
      model,
      windowQuantile,
      seed,
      prompts: prompt,
      signal: interruptSignal(),
      ...(samples === undefined ? {} : { samples }),
      engine: {
        device,
        dtype,
        vq,
        textEncoder,
        logger: verbose ? stderrLogger : undefined,
        onProgress: ({ phase, completed, total, unit }) => {
          if (total !== null) show("loading", completed, total, `${phase} (${unit})`);
        },
      },
      onProgress: (stage, completed, total) => show(stage, completed, total, `${completed} of ${total}`),
    });
  } finally {
    bar.stop();
  }
}
