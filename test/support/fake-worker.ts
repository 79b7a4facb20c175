import { join } from "node:path";
import type { WorkerSource } from "../../src/decode/backend.ts";
import { resolvePythonEnvironment } from "../../src/python/environment.ts";
import { WorkerForwarder } from "../../src/worker/requests.ts";
import { startWorker, type Worker } from "../../src/worker/start.ts";

const FIXTURES = join(import.meta.dirname, "../process/fixtures");

/** A real process behind the real wire that misbehaves as `fixtures/fake-worker` describes. */
export function fakeWorker(behaviour: string, onStart: (worker: Worker) => void = () => {}): WorkerSource {
  return {
    async open(options) {
      const environment = resolvePythonEnvironment();
      if (!environment.installed) throw new Error(environment.reason);
      const worker = await startWorker({
        python: environment.python,
        workerDirectory: join(FIXTURES, "fake-worker"),
        arguments: [behaviour],
        init: {
          model: { weights: { type: "path", path: "/fake" }, vq: null, textEncoder: null, size: null },
          device: "cpu",
          dtype: "auto",
          imageCount: options.maxImages ?? 1,
          fewerImages: false,
        },
        startTimeoutMs: options.startTimeoutMs,
        heartbeatTimeoutMs: options.heartbeatTimeoutMs,
        hangTimeoutMs: options.hangTimeoutMs,
        firstHangTimeoutMs: options.firstHangTimeoutMs,
        logger: options.logger,
        onProgress: () => {},
        signal: options.signal,
      });
      onStart(worker);
      const { channel, ready, pid, failure, stop } = worker;
      const forwarder = new WorkerForwarder(channel, ready);
      return { card: ready.card, device: ready.device, dtype: ready.dtype, forwarder, pid, failure, stop };
    },
  };
}
