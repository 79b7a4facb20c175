import { VERSION } from "../version.ts";
import { LazyEngines } from "./lazy-engines.ts";
import { engineProvider, type ZiparProvider } from "./provider.ts";

export type { ZiparImageOptions } from "./image-call.ts";
export {
  createZipar,
  type ZiparProvider,
  type ZiparProviderOptions,
  type ZiparServerLocation,
} from "./provider.ts";
export type {
  ImageMetadata,
  ImageModelV4,
  ImageModelV4CallOptions,
  ImageModelV4Result,
  Warning,
} from "./specification.ts";

/** Engines with the default options, in this process. */
export const zipar: ZiparProvider = engineProvider("demo", sharedEngines());

/** The same ones for every copy of this module: reloads in development make one, and each would start a worker of its own. */
function sharedEngines(): LazyEngines {
  const shared = globalThis as { [key: symbol]: LazyEngines | undefined };
  const key = Symbol.for(`zipar.ai-sdk.engines ${VERSION}`);
  const engines = shared[key] ?? new LazyEngines({});
  shared[key] = engines;
  return engines;
}
