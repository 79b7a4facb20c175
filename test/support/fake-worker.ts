import { join } from "node:path";
import type { WorkerSource } from "../../src/decode/worker-source.ts";
import { resolvePythonEnvironment } from "../../src/python/environment.ts";
import { SocketWorker } from "../../src/worker/socket-worker.ts";
import { startWorker } from "../../src/worker/start.ts";

const FIXTURES = join(import.meta.dirname, "../process/fixtures");

/** A real process behind the real wire that misbehaves as `fixtures/fake-worker` describes. */
export function fakeWorker(behaviour: string): WorkerSource {
  return {
    async open(options) {
      const environment = resolvePythonEnvironment();
      if (!environment.installed) throw new Error(environment.reason);
      const connection = await startWorker({
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
      return new SocketWorker(connection);
    },
  };
}
