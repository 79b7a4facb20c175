import type { WorkerOptions, WorkerSource } from "../decode/worker-source.ts";
import type { RequestBody } from "../protocol/requests.ts";
import type { Conversation, FirstRequest } from "./conversation.ts";
import { describeRequest, initRequest, type SourceResolver } from "./load-request.ts";
import { warnOf } from "./warn-of.ts";

/** Gets hold of a worker and has it answer its first request. */
export type OpenConversation = <First extends FirstRequest>(
  options: WorkerOptions,
  request: RequestBody<First>,
) => Promise<Conversation<First>>;

/** A source of workers behind sockets, wherever they run. */
export function socketSource(open: OpenConversation, resolve: SourceResolver): WorkerSource {
  return {
    async open(options) {
      const conversation = await open(options, initRequest(options, resolve));
      warnOf(conversation.reply, options.logger);
      const { SocketWorker } = await import("./socket.ts"); // not before: importing zipar stays quick
      return new SocketWorker(conversation, options.logger);
    },
    async describe(options) {
      const { reply, stop } = await open(options, describeRequest(options, resolve));
      await stop();
      warnOf(reply, options.logger);
      const { card, device, dtype, weights, slotCount, cacheBytesPerImage, freeBytes } = reply;
      return { card, device, dtype, weights, slotCount, cacheBytesPerImage, freeBytes };
    },
  };
}
