import { z } from "zod";
import type { Engine } from "../api/engine.ts";
import type { EngineOptions } from "../api/engine-options.ts";
import { engineSchema } from "../api/engine-schema.ts";
import { parseOptions } from "../options/parse.ts";
import { noSuchModelError } from "./api-call-error.ts";
import type { ServerAddress } from "./ask-server.ts";
import type { ImageCall } from "./image-call.ts";
import { imageModel, type MadeImages } from "./image-model.ts";
import { makeInProcess } from "./in-process.ts";
import { LazyEngines } from "./lazy-engines.ts";
import { makeOverHttp } from "./over-http.ts";
import type { ImageModelV4 } from "./specification.ts";

const serverSchema = z.strictObject({
  /** Of `zipar serve`: `http://127.0.0.1:7811`, with or without `/v1`. */
  baseURL: z.url({ protocol: /^https?$/, error: 'expected a URL such as "http://127.0.0.1:7811"' }),
  /** One of its `--api-key-file`. */
  apiKey: z.string().min(1).optional(),
  /** For each request. */
  headers: z.record(z.string(), z.string()).default({}),
  /** In the place of the global one. */
  fetch: z.custom<typeof fetch>((value) => typeof value === "function", "expected a function").optional(),
});

const engineGivenSchema = z.strictObject({
  engine: z.custom<Engine>(
    (value) => typeof (value as Engine | null)?.generate === "function",
    "expected an engine, of `await createEngine(...)`",
  ),
});

const enginesSchema = engineSchema.omit({ signal: true });

/** Where `zipar serve` is. */
export type ZiparServerLocation = z.input<typeof serverSchema>;

/** An engine, which stays its owner's; a server; or the options of engines that the provider starts and ends. */
export type ZiparProviderOptions =
  | { readonly engine: Engine }
  | ZiparServerLocation
  | Omit<EngineOptions, "signal">;

/** A provider for the AI SDK, `ProviderV4`: call it for an image model. */
export interface ZiparProvider extends AsyncDisposable {
  readonly specificationVersion: "v4";
  /**
   * In process a reference as in `createEngine({ model })`, over HTTP a name that the server gave it, and of a given engine any
   * name. Left out: the `model` of the options, the server's first, or the engine's.
   */
  (modelId?: string): ImageModelV4;
  image(modelId?: string): ImageModelV4;
  imageModel(modelId?: string): ImageModelV4;
  /** @throws `NoSuchModelError` */
  languageModel(modelId: string): never;
  /** @throws `NoSuchModelError` */
  embeddingModel(modelId: string): never;
  /** Ends the engines that were started. A call after it starts them anew. */
  dispose(): Promise<void>;
}

/** @throws ZiparError `invalid-options` */
export function createZipar(options: ZiparProviderOptions = {}): ZiparProvider {
  const has = (key: string) => typeof options === "object" && options !== null && key in options;
  if (has("baseURL")) {
    const server = addressOf(parseOptions(serverSchema, options, "createZipar"));
    return provider("zipar", (modelId, call) => makeOverHttp(server, modelId, call));
  }
  if (has("engine")) {
    const { engine } = parseOptions(engineGivenSchema, options, "createZipar");
    return provider(engine.card.name, (modelId, call) => makeInProcess(async () => engine, modelId, call));
  }
  const { model, ...rest } = parseOptions(enginesSchema, options, "createZipar");
  return engineProvider(model, new LazyEngines(rest));
}

/** A provider of engines that it may share with others. */
export function engineProvider(model: string, engines: LazyEngines): ZiparProvider {
  return provider(
    model,
    (modelId, call) => makeInProcess(() => engines.get(modelId), modelId, call),
    () => engines.dispose(),
  );
}

function provider(
  defaultModel: string,
  make: (modelId: string, call: ImageCall) => Promise<MadeImages>,
  dispose: () => Promise<void> = async () => {},
): ZiparProvider {
  const model = (modelId = defaultModel) => imageModel(modelId, (call) => make(modelId, call));
  const none = (modelType: string) => (modelId: string) => {
    throw noSuchModelError(modelType, modelId);
  };
  return Object.assign((modelId?: string) => model(modelId), {
    specificationVersion: "v4" as const,
    image: model,
    imageModel: model,
    languageModel: none("languageModel"),
    embeddingModel: none("embeddingModel"),
    dispose,
    [Symbol.asyncDispose]: dispose,
  });
}

function addressOf({ baseURL, apiKey, headers, fetch }: z.output<typeof serverSchema>): ServerAddress {
  const base = new URL(baseURL);
  if (base.pathname === "/") base.pathname = "/v1";
  return {
    url: `${base.href.replace(/\/+$/, "")}/images/generations`,
    headers: { ...headers, ...(apiKey === undefined ? {} : { authorization: `Bearer ${apiKey}` }) },
    fetch: fetch ?? globalThis.fetch,
  };
}
