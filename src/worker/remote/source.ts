import type { WorkerSource } from "../../decode/worker-source.ts";
import { ZiparError } from "../../errors.ts";
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
    async (options, request) => {
      if (typeof options.threads === "number") throw ownMachine();
      const { awaitDialIn } = await import("./await-dial-in.ts"); // not before: importing zipar stays quick
      return awaitDialIn(settings, memory, options, request);
    },
    // Only the worker can look at its machine.
    { weights: resolveRemoteReference, part: resolveRemoteReference },
  );
  return { ...source, count: { min: settings.min, max: settings.max ?? settings.min } };
}

function ownMachine(): ZiparError {
  return new ZiparError({
    code: "invalid-options",
    message:
      "`threads` is about a worker on this machine; one on another machine is told by `zipar worker --threads`",
  });
}
