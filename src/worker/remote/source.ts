import type { WorkerSource } from "../../decode/worker-source.ts";
import { resolveRemoteReference } from "../model-reference.ts";
import { socketSource } from "../socket-source.ts";
import type { WaitMemory } from "./await-dial-in.ts";
import { type RemoteWorkerOptions, resolveRemote } from "./options.ts";

/**
 * PyTorch workers that dial in from elsewhere: `zipar worker --connect ...`. Opening waits for one. When the link is
 * lost, the worker keeps its model and dials in again; opening again waits for that.
 * @throws ZiparError `invalid-options`
 */
export function remoteWorker(options: RemoteWorkerOptions): WorkerSource {
  const settings = resolveRemote(options);
  const memory: WaitMemory = { endpoint: undefined, listener: undefined, epochs: new Set() };
  const source = socketSource(
    async (...conversation) => {
      const { awaitDialIn } = await import("./await-dial-in.ts"); // not before: importing zipar stays quick
      return awaitDialIn(settings, memory, ...conversation);
    },
    // Only the worker can look at its machine.
    { weights: resolveRemoteReference, part: resolveRemoteReference },
  );
  return { ...source, count: { min: settings.min, max: settings.max ?? settings.min } };
}
