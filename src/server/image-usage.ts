import type { GenerationResult } from "../api/generation.ts";

/** `usage` of OpenAI's images API: the prompt's tokens once, the image tokens of all images. */
export function imageUsage(results: readonly GenerationResult[]) {
  const inputTokens = results[0]?.stats.promptTokens ?? 0;
  const outputTokens = results.reduce((sum, { stats }) => sum + stats.tokens, 0);
  return {
    input_tokens: inputTokens,
    input_tokens_details: { image_tokens: 0, text_tokens: inputTokens },
    output_tokens: outputTokens,
    total_tokens: inputTokens + outputTokens,
  };
}
