import { commitStep } from "../schedule/commit-step.ts";
import { nextTokenForwardCount } from "../schedule/grid.ts";
import { planStep } from "../schedule/plan-step.ts";
import { randomKey } from "../schedule/random.ts";
import { isComplete, startSequence } from "../schedule/sequence-state.ts";
import { type PlanOptions, resolvePlanOptions } from "./generate-options.ts";

/**
 * The schedule of one image under a fixed window: no model, no worker. With lookahead, and under a guessed window of that
 * size, the forwards depend on the tokens and are never more than these.
 */
export interface Plan {
  readonly rows: number;
  readonly columns: number;
  readonly window: number;
  /** Forwards, prefill included: `columns + (rows - 1) * window`. */
  readonly forwards: number;
  /** Forwards of next-token order, counted as the paper does: one per sequence position. */
  readonly nextTokenForwards: number;
  /** Share of forwards saved, `1 - forwards / nextTokenForwards`. */
  readonly reduction: number;
  /** Most queries in one forward after the prefill, row starts and refreshes included. */
  readonly maxQueries: number;
  /** Raster order: the forward (from 1, the prefill) that decodes each cell. */
  readonly steps: Int32Array;
}

/**
 * Plans the decoding of a `rows` x `columns` token grid by running the real schedule on nothing.
 * Synchronous: about half a second for a grid of 256 x 256.
 * @throws ZiparError `invalid-options`
 */
export function plan(options: PlanOptions): Plan {
  const { grid, window } = resolvePlanOptions(options);
  const state = startSequence({
    grid,
    window: { kind: "fixed", size: window },
    promptLength: 1,
    codeCount: 1,
    key: randomKey(0),
  });
  const steps = new Int32Array(grid.rows * grid.columns);
  let maxQueries = 1;
  while (!isComplete(state)) {
    const step = planStep(state);
    maxQueries = Math.max(maxQueries, step.queries.length);
    const results = step.queries.map(({ want }) =>
      want.type === "none" ? undefined : { token: 0, probability: 1 },
    );
    for (const { row, column } of commitStep(state, step, results).cells) {
      steps[row * grid.columns + column] = state.forwardCount;
    }
  }
  const nextTokenForwards = nextTokenForwardCount(grid);
  return {
    rows: grid.rows,
    columns: grid.columns,
    window,
    forwards: state.forwardCount,
    nextTokenForwards,
    reduction: 1 - state.forwardCount / nextTokenForwards,
    maxQueries,
    steps,
  };
}
