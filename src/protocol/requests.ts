import type { Reply, Request } from "./messages.ts";

/** What each request is answered with, unless it fails. `refuse` is missing: nothing answers it. */
export const REPLY_TYPE = {
  init: "ready",
  describe: "described",
  "encode-prompt": "prompt-encoded",
  forward: "forward-done",
  "decode-image": "image-decoded",
  profile: "profile-done",
  release: "done",
  stats: "stats-report",
  shutdown: "done",
} as const satisfies Record<Exclude<Request["type"], "refuse">, Reply["type"]>;

export type RequestType = keyof typeof REPLY_TYPE;

/** A request as its sender writes it. The channel adds the epoch, the number and the list of frames. */
export type RequestBody<Type extends RequestType> = { readonly type: Type } & ReadonlyDeep<
  Omit<Extract<Request, { type: Type }>, "type" | "epoch" | "request" | "frames">
>;

export type ReplyTo<Type extends RequestType> = Extract<Reply, { type: (typeof REPLY_TYPE)[Type] }>;

type ReadonlyDeep<Value> = Value extends object
  ? { readonly [Key in keyof Value]: ReadonlyDeep<Value[Key]> }
  : Value;
