import { ZiparError } from "../errors.ts";
import { createApp, type ServerState } from "./app.ts";
import type { ServerContext } from "./context.ts";
import { EnginePool, type ServedModel } from "./engine-pool.ts";
import { ImageGate } from "./image-gate.ts";
import { ImageStore } from "./image-store.ts";
import { createMetrics } from "./metrics.ts";
import { resolveServerOptions, type ServerOptions } from "./options.ts";

/** A name is what requests say; it shows in URLs and in metrics. */
const MODEL_NAME = /^[A-Za-z0-9][\w.@/-]{0,127}$/;
const POLL_MS = 20;

/** Images over HTTP: hand its requests to `fetch`. */
export interface ZiparServer extends AsyncDisposable {
  /** A Fetch handler, for Hono, Next.js, Node (`@hono/node-server`), Bun ... */
  fetch(request: Request): Promise<Response>;
  /** Once every model is loaded that is loaded at the start. Rejects with what a load fails with. */
  readonly ready: Promise<void>;
  /** Takes no images any more, lets those that run finish for `deadlineMs`, cancels the rest, and ends the engines. */
  stop(options?: { readonly deadlineMs?: number }): Promise<void>;
}

/**
 * Serves models by their names: engines, which stay their owner's, or options of engines, which the server loads and ends.
 * @throws ZiparError `invalid-options`
 */
export function createServer(
  models: Readonly<Record<string, ServedModel>>,
  input: ServerOptions = {},
): ZiparServer {
  const options = resolveServerOptions(input);
  checkNames(Object.keys(models));
  const pool = new EnginePool(models, options);
  const gates = new Map(pool.names.map((name) => [name, new ImageGate()]));
  const store = new ImageStore(options.urlStore);
  const cancelling = new AbortController();
  const metrics = createMetrics(pool, gates, () => store.byteCount);
  const context: ServerContext = { options, pool, gates, store, metrics, stopping: cancelling.signal };
  let state: ServerState = "loading";
  const app = createApp(context, () => state);

  const ready = (options.load === "start" ? pool.loadAll() : Promise.resolve()).then(() => {
    if (state === "loading") state = "ready";
  });
  ready.catch(() => {}); // told by /readyz and the log as well

  let stopped: Promise<void> | undefined;
  async function stop(deadlineMs: number): Promise<void> {
    state = "stopping";
    const deadline = performance.now() + deadlineMs;
    const isBusy = () => [...gates.values()].some(({ imageCount }) => imageCount > 0);
    while (isBusy() && performance.now() < deadline)
      await new Promise((resolve) => setTimeout(resolve, POLL_MS));
    cancelling.abort();
    await pool.close();
  }

  return {
    fetch: async (request) => app.fetch(request),
    ready,
    stop({ deadlineMs = 0 } = {}) {
      stopped ??= stop(deadlineMs);
      return stopped;
    },
    [Symbol.asyncDispose]() {
      return this.stop();
    },
  };
}

function checkNames(names: readonly string[]): void {
  const wrong = names.find((name) => !MODEL_NAME.test(name));
  if (wrong === undefined) return;
  throw new ZiparError({
    code: "invalid-options",
    message: `createServer: ${JSON.stringify(wrong)} is no name for a model; expected letters, digits and . _ @ / -, at most 128`,
  });
}
