import { markdownTable } from "../report/markdown-table.ts";
import type { EvalReport, SettingReport } from "./report.ts";
import { isVariant, settingName } from "./settings.ts";

/** The report as Markdown: every measure with one standard error, then differences from next-token order. */
export function drawReportTable(report: EvalReport): string {
  const { model, samplesPerClass, classes, sampling, seed, device, dtype, settings } = report;
  const imageCount = samplesPerClass * classes.length;
  const plain = settings.filter(({ variant }) => !isVariant(variant));
  const variants = settings.filter(({ variant }) => isVariant(variant));
  const sections = [
    `${model} on ${device}, ${dtype}: ${imageCount} images for each setting (${samplesPerClass} of each of ` +
      `${classes.length} classes), seeds from ${seed}; guidance scale ${sampling.guidanceScale}, temperature ` +
      `${sampling.temperature}, top-k ${sampling.topK}, top-p ${sampling.topP}. ± is one standard error.`,
    measureTable([...plain.map(measureRow), ...baselineRows(report)]),
  ];
  if (variants.length > 0)
    sections.push("Variants, each beside its default:", measureTable(withDefaults(plain, variants)));
  const compared = settings.filter(({ differences }) => differences !== undefined);
  if (compared.length > 0) {
    sections.push("Differences from next-token order, paired by class and seed:", differenceTable(compared));
  }
  sections.push(NOTES);
  return `${sections.join("\n\n")}\n`;
}

const NOTES = [
  "- accuracy: share of pictures whose class is named by a classifier that saw drawn pictures only; binomial error.",
  "- Frechet: distance to drawn pictures in that classifier's feature space, smaller is better; bootstrap within classes.",
  "  It is biased upwards for few pictures, all rows alike: compare it with the row of drawn pictures, not with zero.",
  "- greedy agreement: share of tokens at temperature 0 equal to next-token order's, one image per class; bootstrap over images.",
  "- bits per token: -log2 p under the model itself in raster order, at guidance scale 1 and temperature 1; bootstrap over images.",
].join("\n");

function measureTable(rows: readonly (readonly string[])[]): string {
  return markdownTable(
    ["window", "forwards", "reduction", "accuracy", "Frechet", "greedy agreement", "bits per token"],
    rows,
  );
}

function measureRow(setting: SettingReport): readonly string[] {
  const { forwards, reduction, accuracy, frechet, greedyAgreement, bitsPerToken, errors, openedAt } = setting;
  const name = nameOf(setting) + (openedAt === undefined ? "" : ` (opens at ${openedAt.toFixed(1)})`);
  return [
    name,
    errors.forwards === 0 ? String(forwards) : withError(forwards, errors.forwards, 1),
    `${(100 * reduction).toFixed(1)} %`,
    percentage(accuracy, errors.accuracy),
    withError(frechet, errors.frechet, 4),
    percentage(greedyAgreement, errors.greedyAgreement),
    withError(bitsPerToken, errors.bitsPerToken, 3),
  ];
}

function baselineRows({ drawn, reconstructed }: EvalReport): readonly (readonly string[])[] {
  const rows = [
    ["drawn pictures", drawn],
    ["drawn, through the image tokenizer", reconstructed],
  ] as const;
  return rows.flatMap(([name, baseline]) =>
    baseline === null
      ? []
      : [
          [
            name,
            "",
            "",
            percentage(baseline.accuracy, baseline.errors.accuracy),
            withError(baseline.frechet, baseline.errors.frechet, 4),
            "",
            "",
          ],
        ],
  );
}

/** Variants in order, each group headed by the plain setting of the same window. */
function withDefaults(
  plain: readonly SettingReport[],
  variants: readonly SettingReport[],
): readonly (readonly string[])[] {
  return variants.flatMap((variant, k) => {
    const heads =
      variants[k - 1]?.window === variant.window
        ? []
        : plain.filter(({ window }) => window === variant.window);
    return [...heads, variant].map(measureRow);
  });
}

function differenceTable(settings: readonly SettingReport[]): string {
  const rows = settings.flatMap((setting) => {
    const { differences } = setting;
    if (differences === undefined) return [];
    const { accuracy, frechet, bitsPerToken, errors } = differences;
    return [
      [
        nameOf(setting),
        percentage(accuracy, errors.accuracy, "+"),
        withError(frechet, errors.frechet, 4, "+"),
        withError(bitsPerToken, errors.bitsPerToken, 3, "+"),
      ],
    ];
  });
  return markdownTable(["window", "accuracy", "Frechet", "bits per token"], rows);
}

function nameOf({ window, variant }: SettingReport): string {
  const name = settingName({ window, variant: variant ?? {} });
  return name === "full" ? "full (next-token order)" : name;
}

function withError(value: number | null, error: number | null, digits: number, plus: "+" | "" = ""): string {
  if (value === null || error === null) return "-";
  return `${value >= 0 ? plus : ""}${value.toFixed(digits)} ± ${error.toFixed(digits)}`;
}

function percentage(value: number | null, error: number | null, plus: "+" | "" = ""): string {
  return value === null || error === null ? "-" : `${withError(100 * value, 100 * error, 1, plus)} %`;
}
