export type { ServedModel } from "./engine-pool.ts";
export { type StartEvent, type StepEvent, traceEvents } from "./generation-events.ts";
export type { ServerOptions } from "./options.ts";
export { createServer, type ZiparServer } from "./server.ts";
