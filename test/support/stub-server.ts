import { createEngine, type Engine, type EngineOptions, type StubOptions } from "../../src/index.ts";
import type { ServedModel } from "../../src/server/engine-pool.ts";
import { createServer, type ServerOptions, type ZiparServer } from "../../src/server/index.ts";
import { jsonPost } from "./json-post.ts";
import { type RecordingWorker, recordingWorker } from "./recording-worker.ts";

/** 48 x 32 pixels. */
export const STUB: StubOptions = { rows: 4, columns: 6, codeCount: 50 };

/** A server with the stub under the name `stub`, without sockets. */
export interface StubServer extends AsyncDisposable {
  readonly server: ZiparServer;
  readonly engine: Engine;
  readonly worker: RecordingWorker;
  readonly log: string[];
  fetch(path: string, init?: RequestInit): Promise<Response>;
  post(body: unknown, init?: RequestInit, path?: string): Promise<Response>;
}

export async function stubServer(
  options: ServerOptions = {},
  engineOptions: EngineOptions = {},
  others: Readonly<Record<string, ServedModel>> = {},
  stub = STUB,
): Promise<StubServer> {
  const worker = recordingWorker(stub);
  worker.beforeForward = nextTurn; // as a worker elsewhere does, it lets others have their turn
  const engine = await createEngine({ worker: worker.source, ...engineOptions });
  const log: string[] = [];
  const logger = {
    debug() {},
    info: (line: string) => void log.push(line),
    warn: (line: string) => void log.push(line),
  };
  const server = createServer({ stub: engine, ...others }, { logger, ...options });
  await server.ready;
  const fetch = (path: string, init?: RequestInit) =>
    server.fetch(new Request(`http://localhost:7811${path}`, init));
  return {
    server,
    engine,
    worker,
    log,
    fetch,
    post: (body, init, path = "/v1/images/generations") => fetch(path, jsonPost(body, init)),
    async [Symbol.asyncDispose]() {
      await server.stop();
      await engine.dispose();
    },
  };
}

export interface ServerEvent {
  readonly id: string | undefined;
  readonly event: string;
  // biome-ignore lint/suspicious/noExplicitAny: tests look into events of many shapes
  readonly data: any;
}

/** The events of a reply, as they come. */
export async function* eventsOf(response: Response): AsyncGenerator<ServerEvent> {
  let text = "";
  const decoder = new TextDecoder();
  for await (const chunk of response.body ?? []) {
    text += decoder.decode(chunk, { stream: true });
    for (let end = text.indexOf("\n\n"); end >= 0; end = text.indexOf("\n\n")) {
      const lines = text.slice(0, end).split("\n");
      text = text.slice(end + 2);
      const field = (name: string) =>
        lines.find((line) => line.startsWith(`${name}: `))?.slice(name.length + 2);
      const data = field("data");
      if (data !== undefined) yield { id: field("id"), event: field("event") ?? "", data: JSON.parse(data) };
    }
  }
}

export async function allEventsOf(response: Response): Promise<readonly ServerEvent[]> {
  const events: ServerEvent[] = [];
  for await (const event of eventsOf(response)) events.push(event);
  return events;
}

/** The error of a refused request. */
export async function refusalOf(response: Response) {
  const { error } = (await response.json()) as {
    error: Record<"message" | "type" | "code", string> & { param: string | null };
  };
  return { status: response.status, ...error };
}

export function nextTurn(): Promise<void> {
  return new Promise((resolve) => setImmediate(resolve));
}
