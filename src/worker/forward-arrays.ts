import type { ForwardStep } from "../decode/worker.ts";
import { malformed, type NamedArray, takeArray, type WireArrays } from "../protocol/codec.ts";
import { WANT } from "../protocol/messages.ts";
import type { QueryResult } from "../schedule/step-outcome.ts";

/** The frames of `forward`: what all steps feed and want, one after the other. */
export function forwardArrays(steps: readonly ForwardStep[]): readonly NamedArray[] {
  const queries = steps.flatMap(({ plan }) => plan.queries);
  const runs = concatenate(steps.map(({ plan }) => plan.runs));
  const uniforms = queries.flatMap(({ want }) => (want.type === "draw" ? [want.uniform] : []));
  return [
    { name: "tokens", data: Int32Array.from(queries, ({ token }) => token) },
    { name: "slots", data: Int32Array.from(queries, ({ slot }) => slot) },
    { name: "wants", data: Uint8Array.from(queries, ({ want }) => WANT[want.type]) },
    { name: "uniforms", data: Float64Array.from(uniforms) },
    { name: "runs", data: runs, shape: [runs.length / 2, 2] },
    { name: "steps", data: Int32Array.from(queries, ({ step }) => step) },
  ];
}

/**
 * Reads the frames of `forward-done`, aligned with steps and their queries.
 * @throws ZiparError `protocol`
 */
export function readResults(
  steps: readonly ForwardStep[],
  arrays: WireArrays,
  codeCount: number,
): readonly (readonly QueryResult[])[] {
  const tokens = takeArray(arrays, "drawnTokens", "int32");
  const probabilities = takeArray(arrays, "drawnProbabilities", "float32");
  const lengths = takeArray(arrays, "distributionLengths", "int32");
  const distributionTokens = takeArray(arrays, "distributionTokens", "int32");
  const distributionProbabilities = takeArray(arrays, "distributionProbabilities", "float32");
  checkTokens(tokens, codeCount);
  checkTokens(distributionTokens, codeCount);
  checkProbabilities(probabilities);
  checkProbabilities(distributionProbabilities);
  if (lengths.some((length) => length < 0)) throw malformed("a distribution of negative length");
  let draw = 0;
  let distribution = 0;
  let offset = 0;
  const results = steps.map(({ plan }) =>
    plan.queries.map(({ want }): QueryResult => {
      if (want.type === "none") return undefined;
      if (want.type === "draw") {
        const token = tokens[draw] as number;
        return { token, probability: probabilities[draw++] as number };
      }
      const end = offset + (lengths[distribution++] ?? 0);
      const result = {
        tokens: distributionTokens.subarray(offset, end),
        probabilities: distributionProbabilities.subarray(offset, end),
      };
      offset = end;
      return result;
    }),
  );
  if (draw !== tokens.length || draw !== probabilities.length)
    throw malformed(`${tokens.length} draws; ${draw} were wanted`);
  if (
    distribution !== lengths.length ||
    offset !== distributionTokens.length ||
    offset !== distributionProbabilities.length
  ) {
    throw malformed(`${lengths.length} distributions that do not add up; ${distribution} were wanted`);
  }
  return results;
}

function checkTokens(tokens: Int32Array, codeCount: number): void {
  const stray = tokens.find((token) => token < 0 || token >= codeCount);
  if (stray !== undefined) throw malformed(`token ${stray}; expected 0 to ${codeCount - 1}`);
}

/** NaN fails every comparison; float32 sums may round to a little over 1. */
function checkProbabilities(probabilities: Float32Array): void {
  const stray = probabilities.find((probability) => !(probability >= 0 && probability < 1.001));
  if (stray !== undefined) throw malformed(`probability ${stray}; expected 0 to 1`);
}

function concatenate(arrays: readonly Int32Array[]): Int32Array {
  if (arrays.length === 1) return arrays[0] as Int32Array;
  const whole = new Int32Array(arrays.reduce((length, array) => length + array.length, 0));
  let offset = 0;
  for (const array of arrays) {
    whole.set(array, offset);
    offset += array.length;
  }
  return whole;
}
