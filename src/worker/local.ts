import type { WorkerSource } from "../decode/worker-source.ts";
import { parseOptions } from "../options/parse.ts";
import { type StubOptions, stubOptionsSchema } from "../stub/options.ts";
import type { SourceResolver } from "./load-request.ts";
import { resolveModelReference, resolvePartReference } from "./model-reference.ts";
import { socketSource } from "./socket-source.ts";

/** The PyTorch worker, in a process of its own. */
export function pythonWorker(): WorkerSource {
  return localWorker([], resolveModelReference);
}

/** The stub model in a worker process, behind the real wire. It needs Python, pyzmq and msgspec, not PyTorch. */
export function stubProcess(options: StubOptions & { delayMs?: number } = {}): WorkerSource {
  const { delayMs = 0, ...stub } = options;
  const resolved = { ...parseOptions(stubOptionsSchema, stub, "stubProcess"), delayMs };
  return localWorker(["--stub", JSON.stringify(resolved)], () => ({ type: "path", path: "stub" }));
}

/** @internal The harness of the faults starts a module of its own. */
export function localWorker(
  extraArguments: readonly string[],
  weights: SourceResolver["weights"],
  module = "zipar_worker",
): WorkerSource {
  return socketSource(
    async (...conversation) => {
      const { launchInstalled } = await import("./launch-installed.ts"); // not before: importing zipar stays quick
      return launchInstalled(extraArguments, module, ...conversation);
    },
    { weights, part: resolvePartReference },
  );
}
