import fc from "fast-check";

/**
 * How long a property may run, in ms, where the same one has been tried in full before: on a second version of Node.
 * A property that is interrupted counts by the cases that it tried, one at least.
 */
const limit = process.env.ZIPAR_PROPERTY_MS;
/** Whether a property tries all of its cases, so that they say something as a whole. */
export const triesAllCases = limit === undefined;
if (limit !== undefined) fc.configureGlobal({ interruptAfterTimeLimit: Number(limit) });
