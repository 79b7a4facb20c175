import type { WorkerOptions } from "../decode/worker-source.ts";
import type { RequestBody } from "../protocol/requests.ts";
import { requirePython } from "../python/environment.ts";
import { workerFiles } from "../python/location.ts";
import type { Conversation, FirstRequest } from "./conversation.ts";
import { launch } from "./launch.ts";

/**
 * Starts a module of the Python environment as a worker.
 * @throws ZiparError `python-environment`, and what `launch` throws
 */
export async function launchInstalled<First extends FirstRequest>(
  extraArguments: readonly string[],
  module: string,
  options: WorkerOptions,
  request: RequestBody<First>,
): Promise<Conversation<First>> {
  const program = { ...requirePython(), directory: workerFiles().directory, module, extraArguments };
  return launch(program, options, request);
}
