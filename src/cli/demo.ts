import { join } from "node:path";
import { createEngine, type Engine } from "../api/engine.ts";
import type { GenerateOptions } from "../api/generate-options.ts";
import type { GenerationResult } from "../api/generation.ts";
import { drawContactSheet } from "../drawings/contact-sheet.ts";
import { ZiparError } from "../errors.ts";
import { mean } from "../report/statistics.ts";
import { interruptSignal } from "./interrupt.ts";
import type { ValuesOf } from "./option.ts";
import type { DEMO } from "./options.ts";
import { makeFolder, writeOutput } from "./output.ts";
import { showProgress } from "./progress.ts";
import { warningLogger } from "./stderr-logger.ts";

interface Way {
  readonly name: string;
  /** Of the files. */
  readonly slug: string;
  readonly options: Pick<GenerateOptions, "window" | "lookahead">;
}

const WAYS: readonly Way[] = [
  { name: "next-token order", slug: "full", options: { window: "full", lookahead: 0 } },
  { name: "with lookahead", slug: "lookahead", options: { window: "full", lookahead: "auto" } },
  ...[4, 2].map((size) => ({
    name: `guessed window ${size}`,
    slug: `guessed-${size}`,
    options: { window: { kind: "guessed" as const, size } },
  })),
  ...[8, 4, 2].map((window) => ({
    name: `window ${window}`,
    slug: `window-${window}`,
    options: { window, lookahead: 0 },
  })),
];

interface Setting {
  readonly way: Way;
  readonly results: readonly GenerationResult[];
}

/** `zipar demo`: one picture of every class of the demo checkpoint, in next-token order and in fewer forwards. */
export async function runDemo({ out, device, threads, seed }: ValuesOf<typeof DEMO>): Promise<void> {
  makeFolder(out);
  const signal = interruptSignal();
  const engine = await createEngine({ model: "demo", device, threads, signal, logger: warningLogger });
  try {
    const classes = classNamesOf(engine);
    const settings: Setting[] = [];
    for (const way of WAYS)
      settings.push({ way, results: await generateClasses(engine, classes, way, { seed, signal, out }) });
    const sheet = join(out, "contact-sheet.png");
    const picture = await (await drawContactSheet(classes, settings.map(sheetRow))).png().toBuffer();
    await writeOutput("--out", sheet, picture);
    process.stdout.write(
      `${describeSettings(engine, settings)}\n\npictures in ${out}, side by side in ${sheet}\n`,
    );
  } finally {
    await engine.dispose();
  }
}

function classNamesOf({ card }: Engine): readonly string[] {
  if (card.conditioning.type !== "class" || card.conditioning.classNames === null) {
    throw new ZiparError({
      code: "checkpoint",
      message: "the demo checkpoint has no class names; reinstall zipar",
    });
  }
  return card.conditioning.classNames;
}

/** One after the other, so that each one's time is that of a single image; each is saved at once. */
async function generateClasses(
  engine: Engine,
  classes: readonly string[],
  { name: wayName, slug, options }: Way,
  { seed, signal, out }: { seed: number; signal: AbortSignal; out: string },
): Promise<readonly GenerationResult[]> {
  const progress = showProgress();
  const results: GenerationResult[] = [];
  try {
    for (const [classLabel, name] of classes.entries()) {
      progress.show(wayName, classLabel, classes.length, name);
      const result = await engine.generate({ ...options, classLabel, seed: seed + classLabel, signal });
      await result.image.save(join(out, `${name}-${slug}.png`));
      results.push(result);
    }
    progress.show(wayName, classes.length, classes.length, "");
  } finally {
    progress.stop();
  }
  return results;
}

function sheetRow(setting: Setting) {
  const { forwards, reduction } = meansOf(setting);
  const saved = reduction === 0 ? " an image" : ` (-${(100 * reduction).toFixed(0)} %)`;
  return {
    label: `${setting.way.name}: ${Math.round(forwards)} forwards${saved}`,
    images: setting.results.map((result) => result.image),
  };
}

function describeSettings(engine: Engine, settings: readonly Setting[]): string {
  const reference = settings[0] as Setting;
  const lines = settings.map((setting) => {
    const { forwards, reduction, wallMs } = meansOf(setting);
    return [
      setting.way.name.padEnd(18),
      forwards.toFixed(1).padStart(8),
      `${(100 * reduction).toFixed(1)} %`.padStart(11),
      `${(wallMs / 1000).toFixed(2)} s`.padStart(10),
      `${(meansOf(reference).wallMs / wallMs).toFixed(2)}x`.padStart(9),
      `${sameCount(setting, reference)} of ${setting.results.length}`.padStart(16),
    ].join("");
  });
  const header =
    `${"".padEnd(18)}${"forwards".padStart(8)}${"reduction".padStart(11)}${"an image".padStart(10)}` +
    `${"faster".padStart(9)}${"same pictures".padStart(16)}`;
  return [`${engine.card.name} on ${engine.device}, ${engine.dtype}`, header, ...lines].join("\n");
}

function meansOf({ results }: Setting) {
  const meanOf = (key: "forwards" | "reduction" | "wallMs") => mean(results.map(({ stats }) => stats[key]));
  return { forwards: meanOf("forwards"), reduction: meanOf("reduction"), wallMs: meanOf("wallMs") };
}

/** Images whose tokens are those of the reference, each one of them. */
function sameCount({ results }: Setting, reference: Setting): number {
  return results.filter(
    ({ tokens }, k) => tokens.join(";") === (reference.results[k] as GenerationResult).tokens.join(";"),
  ).length;
}
