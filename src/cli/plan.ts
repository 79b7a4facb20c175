import type { PlanOptions } from "../api/generate-options.ts";
import { plan } from "../api/plan.ts";
import { drawWavefrontSvg } from "../drawings/wavefront-svg.ts";
import { writeOutput } from "./output.ts";
import { drawWavefront } from "./wavefront.ts";

export interface PlanArguments extends PlanOptions {
  readonly json?: boolean;
  readonly svg?: string;
  readonly verbose?: boolean;
}

/** `zipar plan`: the schedule of a grid, without a model. */
export function runPlan({ json, svg, verbose: _, ...options }: PlanArguments): void {
  const planned = plan(options);
  const { forwards, nextTokenForwards, reduction, maxQueries } = planned;
  if (svg !== undefined) writeOutput("--svg", svg, drawWavefrontSvg(planned));
  process.stdout.write(
    json
      ? `${JSON.stringify({ forwards, nextTokenForwards, reduction, maxQueries })}\n`
      : `${drawWavefront(planned, process.stdout.isTTY ? process.stdout.columns : 100)}\n`,
  );
}
