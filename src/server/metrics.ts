import { Counter, Gauge, Histogram, Registry } from "prom-client";
import type { Engine } from "../api/engine.ts";
import type { GenerationStats } from "../api/generation.ts";
import type { WorkerStatus } from "../api/worker-status.ts";
import type { WorkerStats } from "../decode/worker.ts";
import type { EnginePool } from "./engine-pool.ts";
import type { ImageGate } from "./image-gate.ts";

/** A worker that is being replaced does not answer; the rest of the page does not wait for it longer than this. */
const STATS_TIMEOUT_MS = 1_000;

const WORKER_STATES = [
  "ready",
  "leaving",
  "lost",
  "gone",
] as const satisfies readonly WorkerStatus["state"][];

export interface Metrics {
  readonly contentType: string;
  /** The page that Prometheus reads. */
  text(): Promise<string>;
  countRequest(route: string, status: number): void;
  countImage(
    model: string,
    outcome: "finished" | "cancelled" | "failed",
    seconds: number,
    stats?: GenerationStats,
  ): void;
  countRefusal(model: string): void;
}

/** In a registry of its own: programs that embed the server have theirs. */
export function createMetrics(
  pool: EnginePool,
  gates: ReadonlyMap<string, ImageGate>,
  storedBytes: () => number,
): Metrics {
  const registry = new Registry();
  const registers = [registry];
  const labelNames = ["model"] as const;
  const requests = new Counter({
    name: "zipar_http_requests_total",
    help: "Requests by route and status.",
    labelNames: ["route", "status"],
    registers,
  });
  const images = new Counter({
    name: "zipar_images_total",
    help: "Images by how they ended.",
    labelNames: ["model", "outcome"],
    registers,
  });
  const refusals = new Counter({
    name: "zipar_refused_total",
    help: "Requests refused because the queue was full.",
    labelNames,
    registers,
  });
  const seconds = new Histogram({
    name: "zipar_image_seconds",
    help: "From the request to the finished image, waiting included.",
    labelNames,
    buckets: [0.1, 0.25, 0.5, 1, 2.5, 5, 10, 30, 60, 120, 300, 600],
    registers,
  });
  const forwards = new Counter({
    name: "zipar_image_forwards_total",
    help: "Forwards that finished images took part in.",
    labelNames,
    registers,
  });
  const saved = new Counter({
    name: "zipar_image_forwards_saved_total",
    help: "Forwards that next-token order would have needed beyond those.",
    labelNames,
    registers,
  });
  const counts = new Gauge({
    name: "zipar_images",
    help: "Images now, by state: decoding, waiting, requested (until delivered).",
    labelNames: ["model", "state"],
    registers,
  });
  const loaded = new Gauge({
    name: "zipar_model_loaded",
    help: "1 where the model is loaded.",
    labelNames,
    registers,
  });
  const freeRows = new Gauge({
    name: "zipar_cache_rows_free",
    help: "Free rows of the K/V cache.",
    labelNames,
    registers,
  });
  const rows = new Gauge({ name: "zipar_cache_rows", help: "Rows of the K/V cache.", labelNames, registers });
  const workers = new Gauge({
    name: "zipar_workers",
    help: "Workers by state: ready, leaving, lost (another one is awaited), gone.",
    labelNames: ["model", "state"],
    registers,
  });
  const restarts = new Gauge({
    name: "zipar_worker_restarts",
    help: "Workers started in the place of lost ones since the model was loaded.",
    labelNames,
    registers,
  });
  const workerForwards = new Gauge({
    name: "zipar_worker_forwards",
    help: "Forwards of the newest worker; images share them.",
    labelNames,
    registers,
  });
  const forwardMs = new Gauge({
    name: "zipar_forward_ms",
    help: "Mean ms of a forward of the newest worker.",
    labelNames,
    registers,
  });
  const memory = new Gauge({
    name: "zipar_memory_bytes",
    help: "Memory of the workers (resident, device), of this process (server) and of pictures waiting for their URL (store).",
    labelNames: ["model", "kind"],
    registers,
  });

  async function readEngine(model: string, engine: Engine): Promise<void> {
    const { cacheRowCount, freeCacheRowCount, liveCount, waitingCount } = engine.occupancy;
    counts.set({ model, state: "decoding" }, liveCount);
    counts.set({ model, state: "waiting" }, waitingCount);
    rows.set({ model }, cacheRowCount);
    freeRows.set({ model }, freeCacheRowCount);
    for (const state of WORKER_STATES)
      workers.set({ model, state }, engine.workers.filter((worker) => worker.state === state).length);
    restarts.set({ model }, engine.restartCount);
    const stats = await statsOf(engine);
    if (stats === undefined) return;
    workerForwards.set({ model }, stats.forwardCount);
    if (stats.forwardCount > 0) forwardMs.set({ model }, stats.forwardMs / stats.forwardCount);
    memory.set({ model, kind: "resident" }, stats.residentBytes);
    if (stats.deviceBytes !== null) memory.set({ model, kind: "device" }, stats.deviceBytes);
  }

  return {
    contentType: registry.contentType,
    async text() {
      for (const gauge of [counts, rows, freeRows, workers, restarts, workerForwards, forwardMs, memory])
        gauge.reset();
      memory.set({ model: "", kind: "server" }, process.memoryUsage.rss());
      memory.set({ model: "", kind: "store" }, storedBytes());
      for (const [model, gate] of gates) counts.set({ model, state: "requested" }, gate.imageCount);
      await Promise.all(
        pool.statuses.map(async ({ name, engine }) => {
          loaded.set({ model: name }, engine === undefined ? 0 : 1);
          if (engine !== undefined) await readEngine(name, engine);
        }),
      );
      return registry.metrics();
    },
    countRequest(route, status) {
      requests.inc({ route, status });
    },
    countImage(model, outcome, elapsed, stats) {
      images.inc({ model, outcome });
      if (stats === undefined) return;
      seconds.observe({ model }, elapsed);
      forwards.inc({ model }, stats.forwards);
      saved.inc({ model }, Math.max(0, stats.nextTokenForwards - stats.forwards));
    },
    countRefusal(model) {
      refusals.inc({ model });
    },
  };
}

async function statsOf(engine: Engine): Promise<WorkerStats | undefined> {
  let timer: NodeJS.Timeout | undefined;
  const late = new Promise<undefined>((resolve) => {
    timer = setTimeout(() => resolve(undefined), STATS_TIMEOUT_MS);
  });
  try {
    return await Promise.race([engine.workerStats().catch(() => undefined), late]);
  } finally {
    clearTimeout(timer);
  }
}
