/**
 * What the loss of a worker costs: the forwards and the time that rebuild an image's K/V, beside those that first
 * decoded it, in one run of the worker. `npm run bench -- --recovery`.
 */

/** Runs over the stored queries of an image that was decoded up to a share of its forwards. */
const SHARES = [0.25, 0.5, 0.75, 1];

/**
 * @param {{ createEngine: Function, pythonWorker: Function, planRebuild: Function }} code
 * @param {Record<string, unknown>} options of the engine
 */
export async function benchRecovery(code, options, windows, request) {
  let opened;
  const source = code.pythonWorker();
  const worker = { open: async (resolved) => (opened = await source.open(resolved)) };
  const engine = await code.createEngine({ ...options, worker });
  try {
    await engine.generate({ ...request, window: windows[0], seed: 0, image: false }); // warm-up
    const rows = [];
    for (const window of windows) rows.push(...(await measureWindow(code, engine, opened, window, request)));
    return rows;
  } finally {
    await engine.dispose();
  }
}

async function measureWindow({ planRebuild }, engine, worker, window, request) {
  const record = recordForwards(worker);
  await engine.generate({ ...request, window, seed: 1, image: false });
  const { steps, prompt, times } = record.stop();
  const rows = [];
  for (const share of SHARES) {
    const count = Math.max(1, Math.round(share * steps.length));
    const fed = fedBy(steps.slice(0, count));
    const forwards = planRebuild(fed);
    const sequence = 2 ** 40;
    const startedAt = performance.now();
    await worker.encodePrompt({ ...prompt, sequence });
    for (const { queries, runs, steps: numbers } of forwards) {
      await worker.forward([
        { sequence, plan: { queries, runs }, steps: numbers, sampling: steps[0].sampling },
      ]);
    }
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

/** Keeps what goes to the worker, and how long each forward took. */
function recordForwards(worker) {
  const { forward, encodePrompt } = worker;
  const kept = { steps: [], times: [], prompt: undefined };
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

/** Of a fixed window every query counts: no draft is ever rejected. */
function fedBy(steps) {
  const fed = { slots: [], tokens: [], ends: [] };
  for (const { plan } of steps) {
    for (const { slot, token } of plan.queries) {
      fed.slots.push(slot);
      fed.tokens.push(token);
    }
    fed.ends.push(fed.slots.length);
  }
  return fed;
}

export function describeRecovery(name, rows) {
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
