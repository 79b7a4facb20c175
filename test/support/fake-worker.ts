import { join } from "node:path";
import type { WorkerSource } from "../../src/decode/worker-source.ts";
import { resolvePythonEnvironment } from "../../src/python/environment.ts";
import { launch } from "../../src/worker/launch.ts";
import { socketSource } from "../../src/worker/socket-source.ts";

const FIXTURES = join(import.meta.dirname, "../process/fixtures");

/** A real process behind the real wire that misbehaves as `fixtures/fake-worker` describes. */
export function fakeWorker(behaviour: string): WorkerSource {
  const environment = resolvePythonEnvironment();
  if (!environment.installed) throw new Error(environment.reason);
  const program = {
    python: environment.python,
    source: environment.source,
    directory: join(FIXTURES, "fake-worker"),
    module: "zipar_worker",
    extraArguments: [behaviour],
  };
  const nowhere = () => ({ type: "path", path: "/fake" }) as const;
  return socketSource((...conversation) => launch(program, ...conversation), {
    weights: nowhere,
    part: nowhere,
  });
}
