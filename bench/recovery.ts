/**
 * What the loss of a worker costs: the forwards and the time that rebuild an image's K/V, beside those that first
 * decoded it, in one run of the worker. `npm run bench -- --recovery`.
 */
import type { EngineOptions } from "#zipar/api/engine-options";
import type { GenerateOptions } from "#zipar/api/generate-options";
import type { ForwardStep, PromptRequest, Worker } from "#zipar/decode/worker";
import { createEngine, type Engine } from "#zipar/index";
import type { FedQueries } from "#zipar/schedule/fed-queries";
import { planRebuild } from "#zipar/schedule/rebuild";
import { pythonWorker } from "#zipar/worker/local";

export interface RecoveryRow {
  readonly window: NonNullable<GenerateOptions["window"]>;
  /** Of the image's forwards. */
  readonly share: number;
  readonly decodeForwards: number;
  readonly decodeMs: number;
  readonly rebuildForwards: number;
  readonly rebuildMs: number;
}

/** Runs over the stored queries of an image that was decoded up to a share of its forwards. */
const SHARES = [0.25, 0.5, 0.75, 1];

export async function benchRecovery(
  options: EngineOptions,
  windows: readonly RecoveryRow["window"][],
  request: GenerateOptions,
): Promise<readonly RecoveryRow[]> {
  let worker: Worker | undefined;
  const source = pythonWorker();
  await using engine = await createEngine({
    ...options,
    worker: { open: async (resolved) => (worker = await source.open(resolved)) },
  });
  await engine.generate({ ...request, window: windows[0], seed: 0, image: false }); // warm-up
  const rows: RecoveryRow[] = [];
  for (const window of windows)
    rows.push(...(await measureWindow(engine, worker as Worker, window, request)));
  return rows;
}

async function measureWindow(
  engine: Engine,
  worker: Worker,
  window: RecoveryRow["window"],
  request: GenerateOptions,
): Promise<readonly RecoveryRow[]> {
  const record = recordForwards(worker);
  await engine.generate({ ...request, window, seed: 1, image: false, lookahead: 0 });
  const { steps, prompt, times } = record.stop();
  const rows: RecoveryRow[] = [];
  for (const share of SHARES) {
    const count = Math.max(1, Math.round(share * steps.length));
    const forwards = planRebuild(fedBy(steps.slice(0, count)));
    const sequence = 2 ** 40;
    const { sampling } = steps[0] as ForwardStep;
    const startedAt = performance.now();
    await worker.encodePrompt({ ...(prompt as PromptRequest), sequence });
    for (const plan of forwards) await worker.forward([{ sequence, plan, sampling }]);
    const rebuildMs = performance.now() - startedAt;
    await worker.release([sequence]);
    const decodeMs = times.slice(0, count).reduce((sum, ms) => sum + ms, 0);
    rows.push({
      window,
      share,
      decodeForwards: count,
      decodeMs,
      rebuildForwards: forwards.length,
      rebuildMs,
    });
  }
  return rows;
}

interface RecordedForwards {
  readonly steps: ForwardStep[];
  /** Of each forward, in ms. */
  readonly times: number[];
  prompt: PromptRequest | undefined;
}

/** Keeps what goes to the worker, and how long each forward took. */
function recordForwards(worker: Worker): { stop(): RecordedForwards } {
  const { forward, encodePrompt } = worker;
  const kept: RecordedForwards = { steps: [], times: [], prompt: undefined };
  worker.encodePrompt = (prompt) => {
    kept.prompt = prompt;
    return encodePrompt.call(worker, prompt);
  };
  worker.forward = async (batch) => {
    const startedAt = performance.now();
    const results = await forward.call(worker, batch);
    kept.times.push(performance.now() - startedAt);
    kept.steps.push(...batch);
    return results;
  };
  return {
    stop() {
      worker.forward = forward;
      worker.encodePrompt = encodePrompt;
      return kept;
    },
  };
}

/** Of a fixed window without lookahead every query counts: no draft is ever rejected, and no guess falls. */
function fedBy(steps: readonly ForwardStep[]): FedQueries {
  const queries = steps.flatMap(({ plan }) => plan.queries);
  return {
    slots: queries.map(({ slot }) => slot),
    tokens: queries.map(({ token }) => token),
    steps: queries.map(({ step }) => step),
  };
}

export function describeRecovery(name: string, rows: readonly RecoveryRow[]): string {
  return [
    `After the loss of a worker: ${name}, float32, one guided image, K/V of the forwards so far`,
    "  window   so far   decoded in            rebuilt in            cheaper",
    ...rows.map(
      (r) =>
        `  ${String(r.window).padEnd(8)} ${`${100 * r.share} %`.padStart(6)}` +
        `${`${r.decodeForwards} forwards, ${Math.round(r.decodeMs)} ms`.padStart(24)}` +
        `${`${r.rebuildForwards} ${r.rebuildForwards === 1 ? "forward" : "forwards"}, ${Math.round(r.rebuildMs)} ms`.padStart(22)}` +
        `${(r.decodeMs / r.rebuildMs).toFixed(1).padStart(9)}x`,
    ),
  ].join("\n");
}
