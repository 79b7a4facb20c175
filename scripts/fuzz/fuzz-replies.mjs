/** Damaged replies against the TypeScript decoder and the reader of forward results. */
import { readdirSync, readFileSync } from "node:fs";
import { join } from "node:path";
import { mutator } from "./mutate.mjs";

/** What the golden `forward-done` answers: two draws, a distribution, a draw. */
const STEPS = [
  {
    sequence: 7,
    sampling: { guidanceScale: 1, temperature: 1, topK: 0, topP: 1 },
    plan: {
      queries: [want("draw"), want("distribution"), want("draw"), want("none"), want("draw")],
      runs: Int32Array.of(0, 5),
    },
  },
];

/**
 * @param {object} code `decodeReply`, `SocketWorker` and `ZiparError` of the build or of the sources
 * @param {{ count: number, seed: number, root: string, onProgress?: (done: number) => void }} options
 * @returns how many messages were taken and refused; `problems` lists those that ended in anything but a typed error
 */
export async function fuzzReplies({ decodeReply, SocketWorker, ZiparError }, options) {
  const { count, seed, root, onProgress } = options;
  const next = mutator(goldenReplies(root), seed);
  const outcome = { messages: count, taken: 0, refused: 0, slowestMs: 0, problems: [] };
  const ready = { card: { codeCount: 512, branches: ["conditional"] }, limits: { cacheRowCount: 2 } };
  for (let k = 0; k < count; k++) {
    const parts = next();
    const startedAt = performance.now();
    try {
      const answer = decodeReply(parts);
      if (answer.reply.type === "forward-done") {
        const channel = { request: async () => answer, close() {} };
        await new SocketWorker({ channel, reply: ready }).forward(STEPS);
      }
      outcome.taken++;
    } catch (error) {
      if (ZiparError.is(error) && error.code === "protocol") outcome.refused++;
      else
        outcome.problems.push({
          message: k,
          parts: parts.map((part) => Buffer.from(part).toString("hex")),
          error,
        });
    }
    outcome.slowestMs = Math.max(outcome.slowestMs, performance.now() - startedAt);
    if (k % 10_000 === 0) onProgress?.(k);
  }
  return outcome;
}

function goldenReplies(root) {
  const directory = join(root, "proto", "golden");
  return readdirSync(directory)
    .map((file) => JSON.parse(readFileSync(join(directory, file), "utf8")))
    .filter(({ direction }) => direction === "reply")
    .map(({ message, frames }) => ({
      header: message,
      frames: frames.map(({ hex }) => new Uint8Array(Buffer.from(hex, "hex"))),
    }));
}

function want(type) {
  return { slot: 0, token: 0, want: { type } };
}
