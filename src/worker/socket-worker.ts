import type {
  AttentionMasses,
  ForwardStep,
  Pixels,
  PromptRequest,
  Worker,
  WorkerStats,
} from "../decode/worker.ts";
import { ZiparError } from "../errors.ts";
import { malformed, type NamedArray, takeArray, type WireArrays } from "../protocol/codec.ts";
import { type ForwardSequence, type ModelCard, type Ready, WANT } from "../protocol/messages.ts";
import type { QueryResult } from "../schedule/commit-step.ts";
import type { FinalReply, WorkerChannel } from "./channel.ts";

/** The link to a worker that has loaded its checkpoint. */
export interface Connection {
  readonly channel: WorkerChannel;
  readonly ready: Ready;
  readonly pid: number | undefined;
  /** What it was lost to; undefined while it stands. */
  failure(): ZiparError | undefined;
  /** Ends it, and the process where there is one. Safe to call twice. */
  stop(): Promise<void>;
}

/**
 * A worker behind a socket, on this machine or elsewhere. The only place where a step plan becomes a message, and a
 * message the results of a step.
 */
export class SocketWorker implements Worker {
  readonly card: ModelCard;
  readonly device: string;
  readonly dtype: string;
  readonly pid: number | undefined;
  readonly cacheRowCount: number;
  readonly #connection: Connection;
  readonly #channel: WorkerChannel;
  /** All branches of each sequence whose prompt is held. */
  readonly #branches = new Map<number, readonly number[]>();

  constructor(connection: Connection) {
    const { channel, ready, pid } = connection;
    this.card = ready.card;
    this.device = ready.device;
    this.dtype = ready.dtype;
    this.pid = pid;
    this.cacheRowCount = ready.limits.cacheRowCount;
    this.#connection = connection;
    this.#channel = channel;
  }

  failure(): ZiparError | undefined {
    return this.#connection.failure();
  }

  stop(): Promise<void> {
    return this.#connection.stop();
  }

  async encodePrompt(prompt: PromptRequest): Promise<{ readonly promptLength: number }> {
    const { reply } = await this.#channel.request({ type: "encode-prompt", ...prompt });
    const { promptLength, branches } = this.#read(() => {
      const encoded = expectReply(reply, "prompt-encoded");
      if (encoded.branches.length === prompt.cacheRows.length) return encoded;
      throw malformed(`${encoded.branches.length} branches for ${prompt.cacheRows.length} cache rows`);
    });
    this.#branches.set(prompt.sequence, [...branches.keys()]);
    return { promptLength };
  }

  async forward(steps: readonly ForwardStep[]): Promise<readonly (readonly QueryResult[])[]> {
    const { reply, arrays } = await this.#channel.request(
      { type: "forward", sequences: steps.map((step) => this.#describeStep(step)) },
      stepArrays(steps),
    );
    return this.#read(() => {
      expectReply(reply, "forward-done");
      return readResults(steps, arrays, this.card.codeCount);
    });
  }

  async decodeImage(codes: Int32Array, rows: number, columns: number): Promise<Pixels> {
    const { reply, arrays } = await this.#channel.request({ type: "decode-image" }, [
      { name: "codes", data: codes, shape: [rows, columns] },
    ]);
    return this.#read(() => {
      expectReply(reply, "image-decoded");
      const data = takeArray(arrays, "pixels", "uint8", 3);
      const { pixelsPerToken } = this.card.imageDecoder ?? { pixelsPerToken: 0 };
      const [height, width] = [rows * pixelsPerToken, columns * pixelsPerToken];
      const received = arrays.get("pixels")?.shape;
      if (String(received) !== String([height, width, 3]))
        throw malformed(`pixels with shape [${received}]; expected [${[height, width, 3]}]`);
      return { width, height, data };
    });
  }

  async profile(
    sequence: number,
    codes: Int32Array,
    rows: number,
    columns: number,
  ): Promise<AttentionMasses> {
    const { reply, arrays } = await this.#channel.request({ type: "profile", sequence }, [
      { name: "codes", data: codes, shape: [rows, columns] },
    ]);
    return this.#read(() => {
      expectReply(reply, "profile-done");
      return readMasses(arrays, rows, columns);
    });
  }

  async release(sequences: readonly number[]): Promise<void> {
    for (const sequence of sequences) this.#branches.delete(sequence);
    await this.#channel.request({ type: "release", sequences });
  }

  /** A reply that breaks the protocol ends the connection: nothing that such a worker says can be relied on. */
  #read<Answer>(reading: () => Answer): Answer {
    try {
      return reading();
    } catch (error) {
      if (ZiparError.is(error)) this.#channel.close(error);
      throw error;
    }
  }

  #describeStep({ sequence, plan, sampling, branches }: ForwardStep): ForwardSequence {
    return {
      sequence,
      branches: [...(branches ?? this.#branches.get(sequence) ?? [])],
      queryCount: plan.queries.length,
      runCount: plan.runs.length / 2,
      drawCount: plan.queries.filter(({ want }) => want.type === "draw").length,
      ...sampling,
    };
  }

  async stats(): Promise<WorkerStats> {
    const { reply } = await this.#channel.request({ type: "stats" });
    const { forwardCount, forwardMs, residentBytes, deviceBytes } = expectReply(reply, "stats-report");
    return { forwardCount, forwardMs, residentBytes, deviceBytes };
  }
}

/** Checks that a reply is of the kind that the request asked for. */
export function expectReply<Type extends FinalReply["type"]>(
  reply: FinalReply,
  type: Type,
): Extract<FinalReply, { type: Type }> {
  if (reply.type !== type) throw malformed(`"${reply.type}" where "${type}" was expected`);
  return reply as Extract<FinalReply, { type: Type }>;
}

function stepArrays(steps: readonly ForwardStep[]): readonly NamedArray[] {
  const queries = steps.flatMap(({ plan }) => plan.queries);
  const runs = concatenate(steps.map(({ plan }) => plan.runs));
  const uniforms = queries.flatMap(({ want }) => (want.type === "draw" ? [want.uniform] : []));
  return [
    { name: "tokens", data: Int32Array.from(queries, ({ token }) => token) },
    { name: "slots", data: Int32Array.from(queries, ({ slot }) => slot) },
    { name: "wants", data: Uint8Array.from(queries, ({ want }) => WANT[want.type]) },
    { name: "uniforms", data: Float64Array.from(uniforms) },
    { name: "runs", data: runs, shape: [runs.length / 2, 2] },
    { name: "steps", data: concatenate(steps.flatMap(({ steps }) => steps ?? [])) },
  ];
}

function readResults(
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

function readMasses(arrays: WireArrays, rows: number, columns: number): AttentionMasses {
  const [layers = 0, heads = 0] = arrays.get("otherMass")?.shape ?? [];
  const take = (name: string, ...shape: readonly number[]) => {
    const data = takeArray(arrays, name, "float32", shape.length);
    const received = arrays.get(name)?.shape ?? [];
    if (String(received) !== String(shape)) {
      throw malformed(`frame "${name}" with shape [${received}]; expected [${shape}]`);
    }
    return data;
  };
  return {
    layers,
    heads,
    rows,
    columns,
    otherMass: take("otherMass", layers, heads),
    mass: take("mass", layers, heads, rows, 2 * columns - 1),
    rowStartMass: take("rowStartMass", rows - 1, layers, heads, columns),
    rowStartTotal: take("rowStartTotal", rows - 1, layers, heads),
  };
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
