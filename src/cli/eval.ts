import { writeFileSync } from "node:fs";
import { join } from "node:path";
import type { EngineOptions } from "../api/engine-options.ts";
import { drawContactSheet } from "../drawings/contact-sheet.ts";
import { drawFidelitySvg } from "../drawings/fidelity-svg.ts";
import { renderSvg } from "../drawings/svg-png.ts";
import { ZiparError } from "../errors.ts";
import { readPictures } from "../eval/picture-set.ts";
import type { SettingReport } from "../eval/report.ts";
import { drawReportTable } from "../eval/report-table.ts";
import { type Evaluation, evaluate } from "../eval/run.ts";
import { settingName, type WindowOption } from "../eval/settings.ts";
import { interruptSignal } from "./interrupt.ts";
import { makeFolder } from "./output.ts";
import { progressBar } from "./progress.ts";
import { stderrLogger } from "./stderr-logger.ts";

/** Command-line options, as commander gives them. */
export interface EvalArguments {
  readonly model: string;
  readonly samplesPerClass: number;
  readonly windows: readonly WindowOption[];
  readonly variants?: boolean;
  readonly classes?: readonly number[];
  readonly seed: number;
  readonly maxImages: number;
  readonly device: string;
  readonly dtype: NonNullable<EngineOptions["dtype"]>;
  readonly out: string;
  readonly json?: boolean;
  readonly verbose?: boolean;
}

const SHEET_COLUMNS = 14;

/** `zipar eval`: what windows cost in fidelity, as a table, JSON and a plot. Goes on where an earlier run stopped. */
export async function runEval(options: EvalArguments): Promise<void> {
  if (!(options.samplesPerClass >= 1)) {
    throw new ZiparError({
      code: "invalid-options",
      message: `--samples-per-class ${options.samplesPerClass}: expected at least 1`,
    });
  }
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
  writeFileSync(join(options.out, "fidelity.json"), `${JSON.stringify(report, undefined, 2)}\n`);
  writeFileSync(join(options.out, "fidelity.md"), table);
  const svg = drawFidelitySvg(report);
  writeFileSync(join(options.out, "fidelity.svg"), svg);
  await (await renderSvg(svg)).png().toFile(join(options.out, "fidelity.png"));
  await saveSamples(evaluation, join(options.out, "samples.png"));
  process.stdout.write(
    options.json
      ? `${JSON.stringify(report)}\n`
      : `${table}\ntable, JSON, plot and samples in ${options.out}\n`,
  );
}

async function measure(options: EvalArguments): Promise<Evaluation> {
  const {
    model,
    samplesPerClass,
    windows,
    variants = false,
    classes,
    seed,
    out,
    device,
    dtype,
    maxImages,
  } = options;
  let bar = progressBar("loading");
  let shown = "loading";
  try {
    return await evaluate({
      model,
      samplesPerClass,
      windows,
      variants,
      seed,
      folder: out,
      signal: interruptSignal(),
      ...(classes === undefined ? {} : { classes }),
      engine: {
        device,
        dtype,
        maxImages,
        logger: options.verbose ? stderrLogger : undefined,
        onProgress: ({ phase, completed, total, unit }) => {
          if (total !== null) bar.update(completed, total, `${phase} (${unit})`);
        },
      },
      onProgress: (setting, stage, completed, total) => {
        if (setting !== shown) {
          bar.stop();
          bar = progressBar(setting);
          shown = setting;
        }
        bar.update(completed, total, stage);
      },
      onSetting: (setting, outcome, wallMs) => {
        bar.stop();
        const time = `${(wallMs / 1000).toFixed(1)} s`;
        process.stderr.write(`eval: ${setting}: ${outcome === "found" ? `done before, in ${time}` : time}\n`);
      },
    });
  } finally {
    bar.stop();
  }
}

/** The first picture of each class, one line per setting. */
async function saveSamples({ report, settings, pictureSets }: Evaluation, path: string): Promise<void> {
  const classes = report.classes.slice(0, SHEET_COLUMNS);
  const rows = settings.flatMap((setting, k) => {
    const set = pictureSets[k];
    const { forwards } = report.settings[k] as SettingReport;
    const label = `${settingName(setting)}: ${Math.round(10 * forwards) / 10} forwards an image`;
    return set === undefined ? [] : [{ label, images: readPictures(set, classes.length) }];
  });
  if (rows.length === 0) return;
  const labels = classes.map((label, k) => report.classNames?.[k] ?? `class ${label}`);
  await (await drawContactSheet(labels, rows, 96)).png().toFile(path);
}
