import { renderSvg } from "../drawings/svg-png.ts";
import { drawTraceSvg } from "../drawings/trace-svg.ts";
import { readTrace } from "../trace/read.ts";
import { replayTrace } from "../trace/replay.ts";
import { summarizeTrace } from "../trace/summary.ts";
import type { ValuesOf } from "./option.ts";
import type { TRACE } from "./options.ts";
import { writeOutput } from "./output.ts";
import { describeTrace } from "./trace-text.ts";

/** `zipar trace FILE`: draws a recorded run, or says whether the schedule does the same again. */
export async function runTrace(file: string, options: ValuesOf<typeof TRACE>): Promise<void> {
  const { check, svg, png, json } = options;
  const trace = await readTrace(file);
  const replay = check ? replayTrace(trace) : undefined;
  if (svg !== undefined) await writeOutput("--svg", svg, drawTraceSvg(trace));
  if (png !== undefined) {
    await writeOutput("--png", png, await (await renderSvg(drawTraceSvg(trace))).png().toBuffer());
  }
  if (json) {
    const summary = summarizeTrace(trace);
    const { forwards, nextTokenForwards, decodedCount, openedAt, draftCount, rejectedCount } = summary;
    const figures = { forwards, nextTokenForwards, decodedCount, openedAt, draftCount, rejectedCount };
    const { guessCount, heldCount, maxQueries, stepMs } = summary;
    const replays = check ? { replays: true } : {};
    process.stdout.write(
      `${JSON.stringify({ ...figures, guessCount, heldCount, maxQueries, stepMs, ...replays })}\n`,
    );
  } else if (replay !== undefined) {
    const drafts =
      replay.draftCount === 0 ? "" : `, ${replay.draftCount} drafts (${replay.rejectedCount} rejected)`;
    process.stdout.write(
      `${file} replays: ${replay.forwards} forwards${drafts}, every plan and every cell the same\n`,
    );
  } else {
    process.stdout.write(`${describeTrace(trace, process.stdout.isTTY ? process.stdout.columns : 100)}\n`);
  }
}
