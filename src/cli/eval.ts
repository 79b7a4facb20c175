import { join } from "node:path";
import { drawContactSheet } from "../drawings/contact-sheet.ts";
import { drawFidelitySvg } from "../drawings/fidelity-svg.ts";
import { renderSvg } from "../drawings/svg-png.ts";
import { readPictures } from "../eval/picture-set.ts";
import type { SettingReport } from "../eval/report.ts";
import { drawReportTable } from "../eval/report-table.ts";
import { type Evaluation, evaluate } from "../eval/run.ts";
import { settingName } from "../eval/settings.ts";
import { interruptSignal } from "./interrupt.ts";
import { loadingOptions } from "./loading.ts";
import type { ValuesOf } from "./option.ts";
import type { EVAL } from "./options.ts";
import { makeFolder, writeOutput } from "./output.ts";
import { showProgress } from "./progress.ts";

const SHEET_COLUMNS = 14;

/** `zipar eval`: what windows cost in fidelity, as a table, JSON and a plot. Goes on where an earlier run stopped. */
export async function runEval(options: ValuesOf<typeof EVAL>): Promise<void> {
  makeFolder(options.out);
  const evaluation = await measure(options);
  const { report } = evaluation;
  if (report.drawn === null) {
    process.stderr.write(
      "eval: no accuracy and no Frechet distance: they need classifier.safetensors and reference-features.safetensors " +
        "beside the weights, and an image tokenizer\n",
    );
  }
  const table = drawReportTable(report);
  const write = (name: string, data: string | Uint8Array) =>
    writeOutput("--out", join(options.out, name), data);
  await write("fidelity.json", `${JSON.stringify(report, undefined, 2)}\n`);
  await write("fidelity.md", table);
  const svg = drawFidelitySvg(report);
  await write("fidelity.svg", svg);
  await write("fidelity.png", await (await renderSvg(svg)).png().toBuffer());
  const samples = await drawSamples(evaluation);
  if (samples !== undefined) await write("samples.png", samples);
  process.stdout.write(
    options.json
      ? `${JSON.stringify(report)}\n`
      : `${table}\ntable, JSON, plot and samples in ${options.out}\n`,
  );
}

async function measure(options: ValuesOf<typeof EVAL>): Promise<Evaluation> {
  const {
    model,
    samplesPerClass,
    windows,
    lookahead,
    variants = false,
    classes,
    seed,
    out,
    maxImages,
  } = options;
  const progress = showProgress();
  try {
    return await evaluate({
      model,
      samplesPerClass,
      windows,
      lookahead,
      variants,
      classes,
      seed,
      folder: out,
      signal: interruptSignal(),
      engine: { ...loadingOptions(options, progress), maxImages },
      onProgress: (setting, stage, completed, total) => progress.show(setting, completed, total, stage),
      onSetting: (setting, outcome, wallMs) => {
        progress.stop();
        const time = `${(wallMs / 1000).toFixed(1)} s`;
        process.stderr.write(`eval: ${setting}: ${outcome === "found" ? `done before, in ${time}` : time}\n`);
      },
    });
  } finally {
    progress.stop();
  }
}

/** The first picture of each class, one line per setting, as a PNG; undefined where there are none. */
async function drawSamples({ report, settings, pictureSets }: Evaluation): Promise<Uint8Array | undefined> {
  const classes = report.classes.slice(0, SHEET_COLUMNS);
  const rows = settings.flatMap((setting, k) => {
    const set = pictureSets[k];
    const { forwards } = report.settings[k] as SettingReport;
    const label = `${settingName(setting)}: ${Math.round(10 * forwards) / 10} forwards an image`;
    return set === undefined ? [] : [{ label, images: readPictures(set, classes.length) }];
  });
  if (rows.length === 0) return undefined;
  const labels = classes.map((label, k) => report.classNames?.[k] ?? `class ${label}`);
  return (await drawContactSheet(labels, rows, 96)).png().toBuffer();
}
