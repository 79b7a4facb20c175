import { join } from "node:path";
import { drawLocalitySvg } from "../drawings/locality-svg.ts";
import { renderSvg } from "../drawings/svg-png.ts";
import { profileLocality } from "../profile/measure.ts";
import type { LocalityReport } from "../profile/report.ts";
import { drawLocalityTable } from "../profile/report-table.ts";
import { interruptSignal } from "./interrupt.ts";
import { loadingOptions } from "./loading.ts";
import type { ValuesOf } from "./option.ts";
import type { PROFILE } from "./options.ts";
import { makeFolder, writeOutput } from "./output.ts";
import { showProgress } from "./progress.ts";

/** `zipar profile`: how local the attention is, as a table, JSON and a picture. */
export async function runProfile(options: ValuesOf<typeof PROFILE>): Promise<void> {
  const { out, json } = options;
  makeFolder(out);
  const report = await measure(options);
  const table = drawLocalityTable(report);
  const svg = drawLocalitySvg(report);
  const write = (name: string, data: string | Uint8Array) => writeOutput("--out", join(out, name), data);
  await write("locality.json", `${JSON.stringify(report)}\n`);
  await write("locality.md", table);
  await write("locality.svg", svg);
  await write("locality.png", await (await renderSvg(svg)).png().toBuffer());
  process.stdout.write(
    json ? `${JSON.stringify(report)}\n` : `${table}\ntable, JSON and picture in ${out}\n`,
  );
}

async function measure(options: ValuesOf<typeof PROFILE>): Promise<LocalityReport> {
  const { model, windowQuantile, seed, samples, prompt = [] } = options;
  const progress = showProgress();
  try {
    return await profileLocality({
      model,
      windowQuantile,
      seed,
      samples,
      prompts: prompt,
      signal: interruptSignal(),
      engine: loadingOptions(options, progress),
      onProgress: (stage, completed, total) =>
        progress.show(stage, completed, total, `${completed} of ${total}`),
    });
  } finally {
    progress.stop();
  }
}
