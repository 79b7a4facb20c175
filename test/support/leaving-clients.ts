import { setTimeout as sleep } from "node:timers/promises";
import { randomOf } from "../faults/random.ts";
import { jsonPost } from "./json-post.ts";

export interface LeavingClients {
  readonly count: number;
  /** Within which they come, in ms. */
  readonly comeWithinMs: number;
  /** Within which each leaves after it has come. */
  readonly leaveWithinMs: number;
  readonly seed: number;
  readonly headers?: Readonly<Record<string, string>>;
}

/** What a client may be at when it hangs up. */
const REQUESTS = [
  { path: "/v1/images/generations", body: {} },
  { path: "/v1/images/generations", body: { n: 2 } },
  { path: "/v1/images/generations", body: { response_format: "url" } },
  { path: "/v1/images/generations", body: { stream: true, partial_images: 3 } },
  { path: "/zipar/generations", body: { partial_images: 8 } },
];

/**
 * Clients that come and hang up at random, each at whatever it is at then: sending, waiting, reading. Resolves when all are gone,
 * to how many got their whole reply or were refused before they left.
 */
export async function leavingClients(
  address: string,
  { count, comeWithinMs, leaveWithinMs, seed, headers = {} }: LeavingClients,
): Promise<{ readonly left: number; readonly served: number; readonly refused: number }> {
  const random = randomOf(seed);
  const clients = Array.from({ length: count }, (_, k) => ({
    comeMs: random.integer(0, comeWithinMs),
    leaveMs: random.integer(0, leaveWithinMs),
    request: random.pick(REQUESTS),
    prompt: String(k % 8),
  }));
  const outcomes = await Promise.all(
    clients.map(async ({ comeMs, leaveMs, request: { path, body }, prompt }) => {
      await sleep(comeMs);
      const leaving = new AbortController();
      const timer = setTimeout(() => leaving.abort(), leaveMs);
      try {
        const init = jsonPost({ prompt, ...body }, { headers, signal: leaving.signal });
        const response = await fetch(address + path, init);
        await response.arrayBuffer();
        if (response.ok) return "served";
        if (response.status === 429) return "refused";
        throw new Error(`${path} answered with status ${response.status}`);
      } catch (error) {
        if (leaving.signal.aborted) return "left";
        throw error;
      } finally {
        clearTimeout(timer);
      }
    }),
  );
  const countOf = (wanted: (typeof outcomes)[number]) => outcomes.filter((one) => one === wanted).length;
  return { left: countOf("left"), served: countOf("served"), refused: countOf("refused") };
}
