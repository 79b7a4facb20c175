import type { Forwarder, ForwardStep } from "./decode.ts";
import type { ResolvedGeneration } from "./options.ts";
import { isGuided } from "./schedule/guidance.ts";
import { planRebuild } from "./schedule/rebuild.ts";
import type { SequenceState } from "./schedule/sequence-state.ts";

/** What deciding over the branches of an image takes. */
export interface GuidedImage {
  readonly sequence: number;
  readonly cacheRows: readonly number[];
  readonly state: SequenceState;
  readonly job: { readonly options: ResolvedGeneration };
}

const CONDITIONAL: readonly number[] = [0];

/** The branches of an image's next forward: all that it has, or the conditional one alone where guidance is off. */
export function branchesOf({ cacheRows, state, job }: GuidedImage): readonly number[] {
  if (cacheRows.length === 1 || !isGuided(state, job.options.guidanceInterval)) return CONDITIONAL;
  return [...cacheRows.keys()];
}

/**
 * Gives the branches that were left out their K/V, in forwards that the images share: each query sees what it would
 * have seen had the branch run all along.
 */
export async function rebuildBranches(forwarder: Forwarder, images: readonly GuidedImage[]): Promise<void> {
  const plans = images.map(({ state }) => planRebuild(state.fed));
  const forwardCount = Math.max(0, ...plans.map((plan) => plan.length));
  for (let k = 0; k < forwardCount; k++) {
    const steps = images.flatMap(({ sequence, cacheRows, job }, index): ForwardStep[] => {
      const part = plans[index]?.[k];
      if (part === undefined) return [];
      const { queries, runs, steps } = part;
      const branches = [...cacheRows.keys()].slice(1);
      return [{ sequence, plan: { queries, runs }, sampling: job.options.sampling, branches, steps }];
    });
    await forwarder.forward(steps);
  }
}
