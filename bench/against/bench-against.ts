/**
 * What people would use instead, side by side with zipar over the same weights: `npm run bench -- --against`. All sides
 * draw greedily in float32, without pixels, with the threads that zipar's worker settles on, and take turns, image by image.
 */
import { mkdirSync, writeFileSync } from "node:fs";
import { cpus } from "node:os";
import { join } from "node:path";
import { createEngine } from "#zipar/index";
import { writeCheckpoint } from "../python.ts";
import { FAMILIES, type Family, type Side } from "./families.ts";
import { aimFigures, figuresOf, type ImageRun, type SideRuns } from "./figures.ts";
import { type OpenSide, openOther, openOwn, peakBytesOf } from "./open-side.ts";
import type { AgainstOptions } from "./options.ts";
import { type FamilyReport, markdownTable, terminalTable } from "./table.ts";

export async function benchAgainst(options: AgainstOptions): Promise<readonly FamilyReport[]> {
  const reports: FamilyReport[] = [];
  for (const family of FAMILIES.filter(({ name }) => options.families.includes(name))) {
    reports.push(await benchFamily(family, options));
    mkdirSync(options.out, { recursive: true });
    writeFileSync(join(options.out, "against.md"), againstPage(reports, options));
  }
  return reports;
}

export function describeAgainst(reports: readonly FamilyReport[]): readonly string[] {
  return reports.flatMap((report) => [terminalTable(report), ""]);
}

async function benchFamily(family: Family, options: AgainstOptions): Promise<FamilyReport> {
  const layers = options.layers ?? family.layers;
  const { measured, leftOut } = chooseSides(family, options);
  for (const reason of leftOut) console.error(`bench: LEFT OUT: ${reason}`);
  const title = `${family.title}, ${layers} layers with random weights`;
  if (!measured.some((side) => "loop" in side)) return { title, figures: [], aims: [], leftOut };
  const model = writeCheckpoint(`against-${family.name}-${layers}`, [
    ...family.shape,
    ...["--layers", String(layers), "--seed", "1"],
  ]);
  const sides = await measure(family, measured, model, options);
  const figures = figuresOf(sides);
  return { title, figures, aims: aimFigures(family.aims, figures), leftOut };
}

function chooseSides(family: Family, options: AgainstOptions) {
  const lacksCheckout = (side: Side) =>
    "loop" in side && side.checkout !== undefined && options[side.checkout] === undefined;
  return {
    measured: family.sides.filter((side) => !lacksCheckout(side)),
    leftOut: family.sides.flatMap((side) =>
      "loop" in side && lacksCheckout(side)
        ? [`${side.name}: name a checkout of its repository with --${side.checkout}`]
        : [],
    ),
  };
}

async function measure(
  family: Family,
  sides: readonly Side[],
  model: string,
  options: AgainstOptions,
): Promise<readonly SideRuns[]> {
  await using engine = await createEngine({
    ...{ model, device: "cpu", dtype: "float32" },
    heartbeatTimeoutMs: 60_000, // a machine that stalls must not have the worker replaced amid what is timed
  });
  const open: OpenSide[] = [];
  try {
    for (const side of sides)
      open.push(
        "loop" in side
          ? await openOther(side, family, model, side.checkout && options[side.checkout])
          : openOwn(side, family, engine),
      );
    const runs = sides.map((): ImageRun[] => []);
    // The first image of each side is its warm-up.
    for (let k = -1; k < options.images; k++) {
      const prompt = family.prompts[Math.max(0, k) % family.prompts.length] as string;
      for (const [at, side] of sides.entries()) {
        const run = await (open[at] as OpenSide).image(prompt);
        const place = k < 0 ? "warm-up" : `image ${k + 1} of ${options.images}`;
        console.error(
          `bench: ${family.name}, ${place}, ${side.name}: ${run.forwards} forwards, ${run.seconds.toFixed(2)} s`,
        );
        if (k >= 0) runs[at]?.push(run);
      }
    }
    return sides.map((side, at) => ({
      side,
      runs: runs[at] as ImageRun[],
      peakBytes: peakBytesOf(open[at]?.pid),
    }));
  } finally {
    await Promise.all(open.map((side) => side.close()));
  }
}

function againstPage(reports: readonly FamilyReport[], options: AgainstOptions): string {
  const machine = `${cpus().length} cores (${cpus()[0]?.model ?? "unknown"}), Node ${process.version}`;
  return [
    `${machine}, float32, greedy, guidance, ${options.images} images of each side in turn; medians. Peak memory is that of`,
    `the process that computes, its load included; this Node process took ${Math.round(process.resourceUsage().maxRSS / 1024)} MiB beside zipar's worker.`,
    "",
    ...reports.map(markdownTable),
  ].join("\n");
}
