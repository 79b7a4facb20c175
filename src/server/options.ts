import { z } from "zod";
import { type Logger, silentLogger } from "../logger.ts";
import { parseOptions } from "../options/parse.ts";
import { LIMITS } from "../protocol/messages.ts";

const ms = z.int().min(1).max(86_400_000);
const origin = z
  .string()
  .refine(
    (text) => URL.canParse(text) && new URL(text).origin === text,
    'expected an origin such as "https://example.org", without a path',
  );

/** The options of `createServer`. */
export const serverSchema = z.strictObject({
  /** When models are loaded: all of them at once, or each when it is first asked for. */
  load: z.enum(["start", "demand"]).default("start"),
  /** Weights and K/V caches of the loaded models together; the longest unused ones make room. Default: no bound. */
  memoryBudgetBytes: z.int().min(1).optional(),
  /** Images of a model that may wait while as many as fit are decoded; more are refused with 429. */
  maxQueue: z.int().min(0).max(100_000).default(32),
  /** How long a request may take, waiting and loading included, before its images are cancelled (504). */
  timeoutMs: ms.default(600_000),
  /** How long a client may leave what is ready for it before it is cut off. */
  deliveryTimeoutMs: ms.default(60_000),
  maxBodyBytes: z
    .int()
    .min(1)
    .default(1 << 20),
  /** Of a trace that is replayed. */
  maxTraceBytes: z
    .int()
    .min(1)
    .default(8 << 20),
  /** Traces that are replayed at a time; more are refused with 429. */
  maxReplays: z.int().min(0).max(10_000).default(4),
  maxPromptCharacters: z.int().min(1).max(LIMITS.promptCharacters).default(32_000),
  /** A size that the model does not know is refused, or replaced by the nearest in shape, which the reply names. */
  unknownSize: z.enum(["refuse", "nearest"]).default("refuse"),
  /** Any of them opens /v1, /zipar and /metrics. None: no key is asked for. */
  apiKeys: z.array(z.string().min(1)).readonly().default([]),
  /** Names, beside localhost and IP addresses, that a Host header may hold. */
  allowedHosts: z.union([z.literal("any"), z.array(z.string().min(1)).readonly()]).default([]),
  /** Origins whose pages may use the server. */
  corsOrigins: z.array(origin).readonly().default([]),
  /** A page at `/` on which people make pictures and watch how they are decoded: docs/studio.md. */
  studio: z.boolean().default(false),
  /** What images are fetched from with `response_format: "url"`. Default: the address that the request came to. */
  publicUrl: z.url({ protocol: /^https?$/ }).optional(),
  /** Pictures that wait to be fetched by their URL. */
  urlStore: z
    .strictObject({
      maxBytes: z
        .int()
        .min(1)
        .default(256 << 20),
      lifetimeMs: ms.default(3_600_000),
    })
    .prefault({}),
  /** Gets a line of JSON for each request and for each image. */
  logger: z
    .custom<Logger>((value) => typeof (value as Logger | null)?.info === "function")
    .default(silentLogger),
});

export type ServerOptions = z.input<typeof serverSchema>;
export type ResolvedServerOptions = Readonly<z.output<typeof serverSchema>>;

/** @throws ZiparError `invalid-options` */
export function resolveServerOptions(input: ServerOptions): ResolvedServerOptions {
  return Object.freeze(parseOptions(serverSchema, input, "createServer"));
}
