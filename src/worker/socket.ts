import type {
  AttentionMasses,
  ForwardStep,
  Pixels,
  PromptRequest,
  Worker,
  WorkerStats,
} from "../decode/worker.ts";
import { ZiparError } from "../errors.ts";
import type { Logger } from "../logger.ts";
import { malformed, takeArray, type WireArrays } from "../protocol/codec.ts";
import type { ForwardSequence, ModelCard } from "../protocol/messages.ts";
import type { QueryResult } from "../schedule/step-outcome.ts";
import type { WorkerChannel } from "./channel.ts";
import type { Conversation } from "./conversation.ts";
import { forwardArrays, readResults } from "./forward-arrays.ts";
import { warnOf } from "./warn-of.ts";

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
  readonly #conversation: Conversation<"init">;
  readonly #channel: WorkerChannel;
  readonly #logger: Logger;
  /** All branches of each sequence whose prompt is held. */
  readonly #branches = new Map<number, readonly number[]>();

  constructor(conversation: Conversation<"init">, logger: Logger) {
    const { channel, reply: ready, pid } = conversation;
    this.card = ready.card;
    this.device = ready.device;
    this.dtype = ready.dtype;
    this.pid = pid;
    this.cacheRowCount = ready.limits.cacheRowCount;
    this.#conversation = conversation;
    this.#channel = channel;
    this.#logger = logger;
  }

  failure(): ZiparError | undefined {
    return this.#conversation.failure();
  }

  get isLeaving(): boolean {
    return this.#channel.isLeaving;
  }

  stop(): Promise<void> {
    return this.#conversation.stop();
  }

  async encodePrompt(prompt: PromptRequest): Promise<{ readonly promptLength: number }> {
    const { reply } = await this.#channel.request({ type: "encode-prompt", ...prompt });
    const { promptLength, branches } = reply;
    this.#read(() => {
      if (branches.length !== prompt.cacheRows.length)
        throw malformed(`${branches.length} branches for ${prompt.cacheRows.length} cache rows`);
    });
    warnOf(reply, this.#logger);
    this.#branches.set(prompt.sequence, [...branches.keys()]);
    return { promptLength };
  }

  async forward(steps: readonly ForwardStep[]): Promise<readonly (readonly QueryResult[])[]> {
    const { reply, arrays } = await this.#channel.request(
      { type: "forward", sequences: steps.map((step) => this.#describeStep(step)) },
      forwardArrays(steps),
    );
    warnOf(reply, this.#logger);
    return this.#read(() => readResults(steps, arrays, this.card.codeCount));
  }

  async decodeImage(codes: Int32Array, rows: number, columns: number): Promise<Pixels> {
    const { arrays } = await this.#channel.request({ type: "decode-image" }, [
      { name: "codes", data: codes, shape: [rows, columns] },
    ]);
    return this.#read(() => {
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
    const { arrays } = await this.#channel.request({ type: "profile", sequence }, [
      { name: "codes", data: codes, shape: [rows, columns] },
    ]);
    return this.#read(() => readMasses(arrays, rows, columns));
  }

  async release(sequences: readonly number[]): Promise<void> {
    for (const sequence of sequences) this.#branches.delete(sequence);
    await this.#channel.request({ type: "release", sequences });
  }

  async stats(): Promise<WorkerStats> {
    const { reply } = await this.#channel.request({ type: "stats" });
    const { forwardCount, forwardMs, residentBytes, deviceBytes } = reply;
    return { forwardCount, forwardMs, residentBytes, deviceBytes };
  }

  /** Reads an answer. One that breaks the protocol ends the conversation: such a worker cannot be trusted any more. */
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
