import fc from "fast-check";
import type { ContextLaw } from "./context-model.ts";
import { type Setting, settings } from "./grids.ts";

/** An image to decode in a model in which everything matters. */
export interface ContextRun {
  readonly setting: Setting;
  readonly law: ContextLaw;
  readonly isGreedy: boolean;
  readonly seed: number;
}

/** On grids up to `side` x `side`. */
export const contextRuns = (side: number): fc.Arbitrary<ContextRun> =>
  fc.record({
    setting: settings(side),
    law: fc.record({ codeCount: fc.constantFrom(3, 50), ease: fc.constantFrom(0, 0.5, 0.8, 1) }),
    isGreedy: fc.boolean(),
    seed: fc.nat(999),
  });
