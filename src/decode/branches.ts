import { isGuided } from "../schedule/guidance.ts";
import type { LiveImage } from "./image.ts";

const CONDITIONAL: readonly number[] = [0];

/** The branches of an image's next forward: all that it has, or the conditional one alone where guidance is off. */
export function branchesOf({ cacheRows, state }: LiveImage): readonly number[] {
  if (cacheRows.length === 1 || !isGuided(state)) return CONDITIONAL;
  return [...cacheRows.keys()];
}

/** The branches that do not run while guidance is off. */
export function leftOutBranches({ cacheRows }: LiveImage): readonly number[] {
  return [...cacheRows.keys()].slice(1);
}

/** Whether guidance comes on with the next forward, and the branches that did not run while it was off are needed. */
export function needsBranches(live: LiveImage): boolean {
  return live.lacksBranches && branchesOf(live).length > 1;
}
