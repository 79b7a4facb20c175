/** How many cases a property tries where it has been tried in full before: on a second version of Node. */
const limit = process.env.ZIPAR_PROPERTY_RUNS;

/** Whether a property tries all of its cases, so that they say something as a whole. */
export const triesAllCases = limit === undefined;

/** `count` cases, or fewer where there is a limit. */
export const runs = (count: number): number => Math.min(count, Number(limit ?? count));
