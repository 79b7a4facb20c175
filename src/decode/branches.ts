import type { ResolvedGeneration } from "../api/generate-options.ts";
import { isGuided } from "../schedule/guidance.ts";
import type { SequenceState } from "../schedule/sequence-state.ts";

/** What deciding over the branches of an image takes. */
export interface GuidedImage {
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

/** The branches that do not run while guidance is off. */
export function leftOutBranches({ cacheRows }: GuidedImage): readonly number[] {
  return [...cacheRows.keys()].slice(1);
}
