/**
 * `zipar serve` under load: `npm run bench -- --serve`. Clients that ask for one image after the other, and wait as they are
 * told where the queue is full; then clients that hang up at random.
 */
import { setTimeout as sleep } from "node:timers/promises";
import { jsonPost } from "../test/support/json-post.ts";
import { leavingClients } from "../test/support/leaving-clients.ts";
import { readMetric, serveCommand } from "../test/support/serve-command.ts";

export interface ServeFigures {
  readonly clients: number;
  /** Until the last of them had its image. */
  readonly seconds: number;
  readonly images: number;
  /** Of requests that got their image, in seconds. */
  readonly latency: { readonly median: number; readonly p95: number };
  readonly refused: number;
  /** Requests that got neither an image nor a 429. */
  readonly lost: number;
  readonly mebibytes: { readonly before: Memory; readonly after: Memory };
  readonly leaving: { readonly left: number; readonly served: number; readonly refused: number };
  /** Of the K/V cache and of the queue, once the clients that hang up are gone: 0 and 0 where nothing leaks. */
  readonly takenRows: number;
  readonly takenPlaces: number;
}

interface Memory {
  readonly server: number;
  readonly worker: number;
}

const CLIENTS = 64;
const SECONDS = 60;
const LEAVING = { count: 200, comeWithinMs: 20_000, leaveWithinMs: 3_000, seed: 1 };
const IDLE_SECONDS = 60;

export async function benchServe(): Promise<ServeFigures> {
  const { command, address } = await serveCommand(["--model", "demo", "--device", "cpu"]);
  command.stdout.resume();
  try {
    while ((await fetch(`${address}/readyz`)).status !== 200) await sleep(100);
    for (let seed = 0; seed < 16; seed++) await ask(address, seed); // warm-up
    const before = await memoryOf(address);
    const load = await loadOf(address);
    const after = await memoryOf(address);
    const leaving = await leavingClients(address, LEAVING);
    const taken = await takenOnceIdle(address);
    return { clients: CLIENTS, ...load, mebibytes: { before, after }, leaving, ...taken };
  } finally {
    command.kill("SIGTERM");
    await command;
  }
}

async function loadOf(address: string) {
  const latencies: number[] = [];
  let refused = 0;
  let lost = 0;
  const begin = performance.now();
  const end = begin + 1000 * SECONDS;
  const client = async (k: number) => {
    for (let seed = k; performance.now() < end; seed += CLIENTS) {
      const startedAt = performance.now();
      const { status, seed: made, retryAfterSeconds } = await ask(address, seed);
      if (status === 200 && made === seed) latencies.push((performance.now() - startedAt) / 1000);
      else if (status !== 429) lost += 1;
      else {
        refused += 1;
        await sleep(1000 * retryAfterSeconds);
      }
    }
  };
  await Promise.all(Array.from({ length: CLIENTS }, (_, k) => client(k)));
  const seconds = Math.round((performance.now() - begin) / 1000);
  const sorted = latencies.sort((a, b) => a - b);
  const at = (quantile: number) => sorted[Math.floor(quantile * (sorted.length - 1))] ?? Number.NaN;
  return { seconds, images: sorted.length, latency: { median: at(0.5), p95: at(0.95) }, refused, lost };
}

/** One image; where it is whole, with the seed that the reply names. */
async function ask(address: string, seed: number) {
  const response = await fetch(
    `${address}/v1/images/generations`,
    jsonPost({ prompt: String(seed % 8), seed }),
  );
  const { data, zipar } = (await response.json()) as {
    data?: [{ b64_json: string }];
    zipar?: { images: [{ seed: number }] };
  };
  const isWhole = data?.[0].b64_json.startsWith("iVBORw0KGgo") ?? false;
  return {
    status: response.status,
    seed: isWhole ? zipar?.images[0].seed : undefined,
    retryAfterSeconds: Number(response.headers.get("retry-after") ?? 1),
  };
}

async function memoryOf(address: string): Promise<Memory> {
  const mebibytes = async (kind: string) => Math.round((await readMetric(address, kind)) / 2 ** 20);
  return {
    server: await mebibytes('zipar_memory_bytes{model="",kind="server"}'),
    worker: await mebibytes('zipar_memory_bytes{model="demo",kind="resident"}'),
  };
}

async function takenOnceIdle(address: string) {
  const requested = 'zipar_images{model="demo",state="requested"}';
  for (let seconds = 0; seconds < IDLE_SECONDS && (await readMetric(address, requested)) > 0; seconds++)
    await sleep(1000);
  const rows = await readMetric(address, 'zipar_cache_rows{model="demo"}');
  const free = await readMetric(address, 'zipar_cache_rows_free{model="demo"}');
  return { takenRows: rows - free, takenPlaces: await readMetric(address, requested) };
}

export function describeServe(figures: ServeFigures): readonly string[] {
  const { clients, seconds, images, latency, refused, lost, mebibytes, leaving } = figures;
  const { before, after } = mebibytes;
  const { left, served, refused: turnedAway } = leaving;
  return [
    `zipar serve, demo, CPU: ${clients} clients, ${seconds} s`,
    `  ${images} images, ${(images / seconds).toFixed(2)} a second; a request that got one took median ${latency.median.toFixed(1)} s, p95 ${latency.p95.toFixed(1)} s`,
    `  ${refused} requests were 429, ${lost} were lost`,
    `  MiB of the server ${before.server} -> ${after.server}, of the worker ${before.worker} -> ${after.worker}`,
    `  ${left + served + turnedAway} clients that hang up: ${left} left, ${served} were served before, ${turnedAway} were 429; then ${figures.takenRows} cache rows and ${figures.takenPlaces} places were taken`,
  ];
}
