import { setImmediate } from "node:timers/promises";
import type {
  AttentionMasses,
  ForwardStep,
  Pixels,
  PromptRequest,
  Worker,
  WorkerStats,
} from "../decode/worker.ts";
import { ZiparError } from "../errors.ts";
import type { ModelCard } from "../protocol/messages.ts";
import { drawToken, probabilityOf } from "../schedule/distribution.ts";
import type { QueryResult } from "../schedule/step-outcome.ts";
import type { Query } from "../schedule/step-plan.ts";
import { stubCard } from "./card.ts";
import { HASH_START, mix, stubDistribution } from "./law.ts";
import type { ResolvedStubOptions } from "./options.ts";
import { stubPixels } from "./pixels.ts";

interface StubSequence {
  readonly rows: number;
  readonly columns: number;
  readonly classIndex: number;
  /** Per branch: what was last fed to each slot. */
  readonly branches: readonly Map<number, SlotContent>[];
}

interface SlotContent {
  readonly token: number;
  /** That of the query; queries of earlier steps do not see it. */
  readonly step: number;
}

/** Executes steps in this process with the stub's law, and refuses whatever a real model could not compute. */
export class StubWorker implements Worker {
  readonly card: ModelCard;
  readonly device = "stub";
  readonly dtype = "float32";
  readonly pid = undefined;
  readonly cacheRowCount: number;
  readonly #options: ResolvedStubOptions;
  readonly #sequences = new Map<number, StubSequence>();
  #forwardCount = 0;
  #forwardMs = 0;

  constructor(options: ResolvedStubOptions, imageCount: number) {
    this.#options = options;
    this.card = stubCard(options);
    this.cacheRowCount = imageCount * this.card.branches.length;
  }

  failure(): undefined {}

  async stop(): Promise<void> {}

  async encodePrompt({
    sequence,
    cacheRows,
    rows,
    columns,
    conditioning,
  }: PromptRequest): Promise<{ promptLength: number }> {
    const classIndex = conditioning.type === "class" ? conditioning.classIndex : 0;
    const branches = cacheRows.map(() => new Map<number, SlotContent>());
    this.#sequences.set(sequence, { rows, columns, classIndex, branches });
    return { promptLength: this.#options.promptLength };
  }

  async forward(steps: readonly ForwardStep[]): Promise<readonly (readonly QueryResult[])[]> {
    const startedAt = performance.now();
    const results = steps.map((step) => this.#forwardSequence(step));
    this.#forwardCount += 1;
    this.#forwardMs += performance.now() - startedAt;
    await setImmediate(); // timers, aborts and requests of the program get their turn
    return results;
  }

  async decodeImage(codes: Int32Array, rows: number, columns: number): Promise<Pixels> {
    return stubPixels(codes, rows, columns);
  }

  async profile(): Promise<AttentionMasses> {
    throw new ZiparError({
      code: "invalid-options",
      message: "the stub is a hash, it has no attention to profile; load a real checkpoint",
    });
  }

  async release(sequences: readonly number[]): Promise<void> {
    for (const sequence of sequences) this.#sequences.delete(sequence);
  }

  async stats(): Promise<WorkerStats> {
    const { rss } = process.memoryUsage();
    return {
      forwardCount: this.#forwardCount,
      forwardMs: this.#forwardMs,
      residentBytes: rss,
      deviceBytes: null,
    };
  }

  #forwardSequence({ sequence: id, plan, sampling, branches }: ForwardStep): readonly QueryResult[] {
    const sequence = this.#sequences.get(id);
    if (sequence === undefined) throw new Error(`stub: sequence ${id} is not known`);
    const fed = (branches ?? [...sequence.branches.keys()]).map(
      (branch) => sequence.branches[branch] as Map<number, SlotContent>,
    );
    const first = fed[0] as Map<number, SlotContent>;
    for (const tokens of fed) {
      for (const { slot, token, step } of plan.queries) tokens.set(slot, { token, step });
      for (const slot of slotsOf(plan.runs)) {
        if (!tokens.has(slot)) throw new Error(`stub: slot ${slot} is to be attended to, but was never fed`);
        if (tokens.get(slot)?.token !== first.get(slot)?.token)
          throw new Error(`stub: the branches hold different tokens in slot ${slot}`);
      }
    }
    return plan.queries.map((query): QueryResult => {
      if (query.want.type === "none") return undefined;
      const state = this.#stateOf(sequence, first, query, query.want, plan.runs);
      const distribution = stubDistribution(state, this.#options.codeCount, sampling);
      if (query.want.type === "distribution") return distribution;
      const token = drawToken(distribution, query.want.uniform);
      return { token, probability: probabilityOf(distribution, token) };
    });
  }

  /** Hash of everything that the wanted cell's token depends on, as far as the query may see it. */
  #stateOf(
    sequence: StubSequence,
    fed: ReadonlyMap<number, SlotContent>,
    query: Query,
    cell: { row: number; column: number },
    runs: Int32Array,
  ): number {
    const { promptLength, reach, seed, rowEnd, codeCount } = this.#options;
    const stride = sequence.columns + (rowEnd === "token" ? 1 : 0);
    const { row, column } = cell;
    const predecessor = promptLength + (column > 0 ? row * stride + column : row * stride) - 1;
    if (query.slot !== predecessor)
      throw new Error(`stub: slot ${query.slot} does not predict cell (${row}, ${column})`);
    const context = [seed, row, column, sequence.classIndex, column > 0 ? query.token : codeCount];
    if (row > 0) {
      for (let k = column; k < Math.min(column + reach, sequence.columns); k++) {
        const slot = promptLength + (row - 1) * stride + k;
        const content = isCovered(runs, slot) && slot <= query.slot ? fed.get(slot) : undefined;
        const isVisible = content !== undefined && content.step <= query.step;
        context.push(isVisible ? content.token : codeCount + 1);
      }
    }
    return context.reduce(mix, HASH_START);
  }
}

function* slotsOf(runs: Int32Array): Generator<number> {
  for (let k = 0; k < runs.length; k += 2) {
    for (let slot = runs[k] as number; slot < (runs[k + 1] as number); slot++) yield slot;
  }
}

function isCovered(runs: Int32Array, slot: number): boolean {
  for (let k = 0; k < runs.length; k += 2) {
    if (slot >= (runs[k] as number) && slot < (runs[k + 1] as number)) return true;
  }
  return false;
}
