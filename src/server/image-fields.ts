/** Fields of OpenAI's images API that have an effect; docs/server.md says which. */
export const HONOURED_FIELDS = [
  "prompt",
  "model",
  "n",
  "size",
  "response_format",
  "output_format",
  "output_compression",
  "background",
  "stream",
  "partial_images",
] as const;

/** Accepted whatever they say, and without effect: whoever sends them gets the picture that was asked for all the same. */
export const IGNORED_FIELDS = ["quality", "style", "user", "moderation"] as const;

/** Options of `generate` that a request may set. */
export const KNOBS = [
  "window",
  "lookahead",
  "seed",
  "guidanceScale",
  "guidanceInterval",
  "temperature",
  "topK",
  "topP",
  "negativePrompt",
  "classLabel",
  "surrogate",
  "refreshRowEnds",
] as const;

/** The same for zipar's own route. */
export const OWN_KNOBS = [...KNOBS, "prefix"] as const;
