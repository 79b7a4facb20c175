import { writeFileSync } from "node:fs";
import { ZiparError } from "../errors.ts";
import { renderSvg } from "../pictures/svg-png.ts";
import { drawTraceSvg } from "../pictures/trace-svg.ts";
import { readTrace } from "../trace/read.ts";
import { replayTrace } from "../trace/replay.ts";
import { summarizeTrace } from "../trace/summary.ts";
import { describeTrace } from "./trace-text.ts";

export interface TraceArguments {
  readonly check?: boolean;
  readonly svg?: string;
  readonly png?: string;
  readonly json?: boolean;
  readonly verbose?: boolean;
}

/** `zipar trace FILE`: draws a recorded run, or says whether the schedule does the same again. */
export async function runTrace(file: string, { check, svg, png, json }: TraceArguments): Promise<void> {
  const trace = await readTrace(file);
  const replay = check ? replayTrace(trace) : undefined;
  if (svg !== undefined) await writePicture("--svg", svg, () => drawTraceSvg(trace));
  if (png !== undefined) {
    await writePicture("--png", png, async () => (await renderSvg(drawTraceSvg(trace))).png().toBuffer());
  }
  if (json) {
    const {
      forwards,
      nextTokenForwards,
      decodedCount,
      openedAt,
      draftCount,
      rejectedCount,
      maxQueries,
      stepMs,
    } = summarizeTrace(trace);
    const figures = {
      forwards,
      nextTokenForwards,
      decodedCount,
      openedAt,
      draftCount,
      rejectedCount,
      maxQueries,
    };
    process.stdout.write(`${JSON.stringify({ ...figures, stepMs, ...(check ? { replays: true } : {}) })}\n`);
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

async function writePicture(
  option: string,
  path: string,
  draw: () => string | Promise<Uint8Array>,
): Promise<void> {
  const picture = await draw();
  try {
    writeFileSync(path, picture);
  } catch (cause) {
    throw new ZiparError({
      code: "image-output",
      message: `${option} ${path}: ${(cause as Error).message}`,
      cause,
    });
  }
}
