/** The version of package.json, which a test compares: where zipar is bundled there is no such file. */
export const VERSION = "0.1.0";
