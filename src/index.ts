export { createEngine, Engine } from "./api/engine.ts";
export type { EngineOptions } from "./api/engine-options.ts";
export type { GenerateOptions, PlanOptions } from "./api/generate-options.ts";
export {
  type AdaptiveReport,
  Generation,
  type GenerationEvent,
  GenerationResult,
  type GenerationStats,
} from "./api/generation.ts";
export { type EncodeOptions, GeneratedImage } from "./api/image.ts";
export type { ImageSize } from "./api/image-size.ts";
export {
  estimateMemory,
  type InspectOptions,
  inspectModel,
  type MemoryEstimate,
} from "./api/inspect-model.ts";
export { type Plan, plan } from "./api/plan.ts";
export type { WorkerStatus } from "./api/worker-status.ts";
export type { Occupancy } from "./decode/pool.ts";
export type { RowCost } from "./decode/row-costs.ts";
export type {
  AttentionMasses,
  Conditioning,
  ForwardStep,
  Pixels,
  PromptRequest,
  Sampling,
  Worker,
  WorkerStats,
} from "./decode/worker.ts";
export type {
  ModelDescription,
  StartProgress,
  WorkerOptions,
  WorkerSource,
} from "./decode/worker-source.ts";
export { ZiparError, type ZiparErrorCode, type ZiparErrorOptions } from "./errors.ts";
export type { Logger } from "./logger.ts";
export type { ImageFormat } from "./picture/encode.ts";
export type { PicturePart } from "./picture/part.ts";
export { readPictureSettings, readPictureTokens } from "./picture/read.ts";
export type { PictureSettings } from "./picture/settings.ts";
export type { ModelCard } from "./protocol/messages.ts";
export type { Distribution } from "./schedule/distribution.ts";
export type { Draw, QueryResult } from "./schedule/step-outcome.ts";
export type { Query, QueryKind, Want } from "./schedule/step-plan.ts";
export type { AdaptiveWindow, FixedWindow, GuessedWindow, Window } from "./schedule/window.ts";
export type { StubOptions } from "./stub/options.ts";
export { stubWorker } from "./stub/source.ts";
export type { Trace, TraceHeader, TraceStep } from "./trace/format.ts";
export { parseTrace, readTrace } from "./trace/read.ts";
export { type Replay, replayTrace } from "./trace/replay.ts";
export { pythonWorker, stubProcess } from "./worker/local.ts";
export type { RemoteWorkerOptions } from "./worker/remote/options.ts";
export { remoteWorker } from "./worker/remote/source.ts";
