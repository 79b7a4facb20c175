import { join } from "node:path";
import { createEngine, type Engine } from "../api/engine.ts";
import type { GenerationResult } from "../api/generation.ts";
import { drawContactSheet } from "../drawings/contact-sheet.ts";
import { ZiparError } from "../errors.ts";
import { interruptSignal } from "./interrupt.ts";
import type { ValuesOf } from "./option.ts";
import type { DEMO } from "./options.ts";
import { makeFolder } from "./output.ts";
import { showProgress } from "./progress.ts";

const WINDOWS = ["full", 8, 4, 2] as const;

interface Setting {
  readonly window: (typeof WINDOWS)[number];
  readonly results: readonly GenerationResult[];
}

/** `zipar demo`: one picture of every class of the demo checkpoint, in next-token order and with ZipAR. */
export async function runDemo({ out, device, seed }: ValuesOf<typeof DEMO>): Promise<void> {
  makeFolder(out);
  const signal = interruptSignal();
  const engine = await createEngine({ model: "demo", device, signal });
  try {
    const classes = classNamesOf(engine);
    const settings: Setting[] = [];
    for (const window of WINDOWS) {
      settings.push({
        window,
        results: await generateClasses(engine, classes, window, { seed, signal, out }),
      });
    }
    const sheet = join(out, "contact-sheet.png");
    await (await drawContactSheet(classes, settings.map(sheetRow))).png().toFile(sheet);
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
  window: Setting["window"],
  { seed, signal, out }: { seed: number; signal: AbortSignal; out: string },
): Promise<readonly GenerationResult[]> {
  const label = window === "full" ? "next-token" : `window ${window}`;
  const progress = showProgress();
  const results: GenerationResult[] = [];
  try {
    for (const [classLabel, name] of classes.entries()) {
      progress.show(label, classLabel, classes.length, name);
      const result = await engine.generate({
        classLabel,
        window,
        lookahead: 0, // the table is about what windows save
        seed: seed + classLabel,
        signal,
      });
      await result.image.save(join(out, `${name}-${window === "full" ? "full" : `window-${window}`}.png`));
      results.push(result);
    }
    progress.show(label, classes.length, classes.length, "");
  } finally {
    progress.stop();
  }
  return results;
}

function sheetRow({ window, results }: Setting) {
  const { forwards, reduction } = (results[0] as GenerationResult).stats;
  const label =
    window === "full"
      ? `next-token order: ${forwards} forwards an image`
      : `ZipAR, window ${window}: ${forwards} forwards (-${(100 * reduction).toFixed(0)} %)`;
  return { label, images: results.map((result) => result.image) };
}

function describeSettings(engine: Engine, settings: readonly Setting[]): string {
  const [reference] = settings.map(meanMs);
  const lines = settings.map((setting) => {
    const { forwards, reduction } = (setting.results[0] as GenerationResult).stats;
    const ms = meanMs(setting);
    return [
      (setting.window === "full" ? "next-token order" : `window ${setting.window}`).padEnd(18),
      String(forwards).padStart(8),
      `${(100 * reduction).toFixed(1)} %`.padStart(11),
      `${(ms / 1000).toFixed(2)} s`.padStart(10),
      `${((reference as number) / ms).toFixed(2)}x`.padStart(9),
    ].join("");
  });
  const header = `${"".padEnd(18)}${"forwards".padStart(8)}${"reduction".padStart(11)}${"an image".padStart(10)}${"faster".padStart(9)}`;
  return [`${engine.card.name} on ${engine.device}, ${engine.dtype}`, header, ...lines].join("\n");
}

function meanMs({ results }: Setting): number {
  return results.reduce((sum, { stats }) => sum + stats.wallMs, 0) / results.length;
}
