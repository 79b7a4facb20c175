/** Damaged replies against the TypeScript decoder and the reader of forward results. */
import { readdirSync, readFileSync } from "node:fs";
import { join } from "node:path";
import type { ForwardStep } from "#zipar/decode/worker";
import { ZiparError } from "#zipar/errors";
import { silentLogger } from "#zipar/logger";
import { decodeReply } from "#zipar/protocol/codec";
import { packageRoot } from "#zipar/python/location";
import type { Query } from "#zipar/schedule/step-plan";
import type { Conversation } from "#zipar/worker/conversation";
import { SocketWorker } from "#zipar/worker/socket";
import { type Message, mutator } from "./mutate.ts";

export interface FuzzOutcome {
  readonly messages: number;
  readonly taken: number;
  readonly refused: number;
  readonly slowestMs: number;
  /** Messages that ended in anything but a typed error. */
  readonly problems: readonly unknown[];
}

interface FuzzOptions {
  readonly count: number;
  readonly seed: number;
  readonly onProgress?: (done: number) => void;
}

/** What the golden `forward-done` answers: two draws, a distribution, a draw. */
const STEPS: readonly ForwardStep[] = [
  {
    sequence: 7,
    sampling: { guidanceScale: 1, temperature: 1, topK: 0, topP: 1 },
    plan: {
      queries: [want("draw"), want("distribution"), want("draw"), want("none"), want("draw")],
      runs: Int32Array.of(0, 5),
    },
  },
];

/** Sends so many damaged replies through the decoder, the same ones for the same seed. */
export async function fuzzReplies({ count, seed, onProgress }: FuzzOptions): Promise<FuzzOutcome> {
  const next = mutator(goldenReplies(), seed);
  const problems: unknown[] = [];
  let taken = 0;
  let refused = 0;
  let slowestMs = 0;
  for (let k = 0; k < count; k++) {
    const parts = next();
    const startedAt = performance.now();
    try {
      await read(parts);
      taken++;
    } catch (error) {
      if (ZiparError.is(error) && error.code === "protocol") refused++;
      else
        problems.push({ message: k, parts: parts.map((part) => Buffer.from(part).toString("hex")), error });
    }
    slowestMs = Math.max(slowestMs, performance.now() - startedAt);
    if (k % 10_000 === 0) onProgress?.(k);
  }
  return { messages: count, taken, refused, slowestMs, problems };
}

/** What an engine does with a reply. */
async function read(parts: readonly Uint8Array[]): Promise<void> {
  const answer = decodeReply(parts);
  if (answer.reply.type !== "forward-done") return;
  const conversation = {
    channel: { request: async () => answer, close() {} },
    reply: { card: { codeCount: 512, branches: ["conditional"] }, limits: { cacheRowCount: 2 } },
  };
  await new SocketWorker(conversation as unknown as Conversation<"init">, silentLogger).forward(STEPS);
}

function goldenReplies(): readonly Message[] {
  const directory = join(packageRoot, "proto", "golden");
  return readdirSync(directory)
    .map((file) => JSON.parse(readFileSync(join(directory, file), "utf8")) as Golden)
    .filter(({ direction }) => direction === "reply")
    .map(({ message, frames }) => ({
      header: message,
      frames: frames.map(({ hex }) => new Uint8Array(Buffer.from(hex, "hex"))),
    }));
}

interface Golden {
  readonly direction: "request" | "reply";
  readonly message: Record<string, unknown>;
  readonly frames: readonly { readonly hex: string }[];
}

function want(type: Query["want"]["type"]): Query {
  return { kind: "ordinary", slot: 0, token: 0, step: 0, want: { type, row: 0, column: 0, uniform: 0 } };
}
