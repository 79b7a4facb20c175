import { plan } from "../plan.ts";
import type { PlanOptions } from "../options.ts";
import { drawWavefront } from "./wavefront.ts";

export interface PlanArguments extends PlanOptions {
  readonly json?: boolean;
}

/** `zipar plan`: the schedule of a grid, without a model. */
export function runPlan({ json, ...options }: PlanArguments): void {
  const planned = plan(options);
  const { forwards, nextTokenForwards, reduction, maxQueries } = planned;
  process.stdout.write(
    json
      ? `${JSON.stringify({ forwards, nextTokenForwards, reduction, maxQueries })}\n`
      : `${drawWavefront(planned, process.stdout.isTTY ? process.stdout.columns : 100)}\n`,
  );
}
