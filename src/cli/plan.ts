import { plan } from "../api/plan.ts";
import { drawWavefrontSvg } from "../drawings/wavefront-svg.ts";
import { pick, type ValuesOf } from "./option.ts";
import { GRID, type PLAN } from "./options.ts";
import { writeOutput } from "./output.ts";
import { drawWavefront } from "./wavefront.ts";

/** `zipar plan`: the schedule of a grid, without a model. */
export async function runPlan(options: ValuesOf<typeof PLAN>): Promise<void> {
  const { json, svg } = options;
  const planned = plan(pick(GRID, options));
  const { forwards, nextTokenForwards, reduction, maxQueries } = planned;
  if (svg !== undefined) await writeOutput("--svg", svg, drawWavefrontSvg(planned));
  process.stdout.write(
    json
      ? `${JSON.stringify({ forwards, nextTokenForwards, reduction, maxQueries })}\n`
      : `${drawWavefront(planned, process.stdout.isTTY ? process.stdout.columns : 100)}\n`,
  );
}
