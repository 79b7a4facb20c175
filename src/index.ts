export type { Backend, ModelDescription, WorkerSource } from "./backend.ts";
export { createEngine, Engine } from "./engine.ts";
export type { EngineOptions, StartProgress } from "./engine-options.ts";
export { ZiparError, type ZiparErrorCode } from "./errors.ts";
export type { WorkerStats } from "./forwarder.ts";
export {
  type AdaptiveReport,
  Generation,
  type GenerationEvent,
  GenerationResult,
  type GenerationStats,
} from "./generation.ts";
export { GeneratedImage, type ImageFormat } from "./image.ts";
export type { ImageSize } from "./image-size.ts";
export { estimateMemory, type InspectOptions, inspectModel, type MemoryEstimate } from "./inspect-model.ts";
export type { Logger } from "./logger.ts";
export type { GenerateOptions, PlanOptions } from "./options.ts";
export { type Plan, plan } from "./plan.ts";
export type { ModelCard } from "./protocol/messages.ts";
export type { Window } from "./schedule/window.ts";
export { type StubOptions, stubWorker } from "./stub/stub-worker.ts";
export type { Trace, TraceHeader, TraceStep } from "./trace/format.ts";
export { parseTrace, readTrace } from "./trace/read.ts";
export { type Replay, replayTrace } from "./trace/replay.ts";
export { pythonWorker, stubProcess } from "./worker/python-worker.ts";
export type { RemoteWorkerOptions } from "./worker/remote/remote-options.ts";
export { remoteWorker } from "./worker/remote/remote-worker.ts";
