import type { Server } from "node:http";
import { isIP } from "node:net";
import { basename } from "node:path";
import { serve } from "@hono/node-server";
import type { EngineOptions } from "../api/engine-options.ts";
import { reasonOf, ZiparError } from "../errors.ts";
import type { Logger } from "../logger.ts";
import { createServer, type ZiparServer } from "../server/server.ts";
import { readToken } from "../worker/remote/key-files.ts";
import { checkModel } from "./check-model.ts";
import { interruptExitCode, interruptSignal } from "./interrupt.ts";
import type { ValuesOf } from "./option.ts";
import type { SERVE } from "./options.ts";
import { stderrLogger } from "./stderr-logger.ts";
import { checkListen, teamOf, teamProblems } from "./team.ts";

type Options = ValuesOf<typeof SERVE>;

const LOOPBACK = /^(localhost|127(\.\d{1,3}){3}|::1)$/;
/** How long a client may take to send its request. */
const REQUEST_TIMEOUT_MS = 30_000;
const MAX_CONNECTIONS = 1024;
const LAST_REPLIES_MS = 2_000;
const POLL_MS = 20;

/** `zipar serve`: images over HTTP until it is stopped. Resolves to the exit code. */
export async function runServe(options: Options): Promise<number> {
  const interrupt = interruptSignal();
  const apiKeys = keysOf(options);
  const server = createServer(modelsOf(options), {
    load: options.load,
    memoryBudgetBytes:
      options.memoryBudget === undefined ? undefined : Math.floor(options.memoryBudget * 2 ** 30),
    maxQueue: options.maxQueue,
    timeoutMs: options.timeout * 1000,
    unknownSize: options.unknownSize,
    apiKeys,
    allowedHosts: [options.host, ...(options.allowedHost ?? [])],
    corsOrigins: options.corsOrigin,
    publicUrl: options.publicUrl,
    studio: options.studio,
    logger: lineLogger,
  });
  try {
    await listenUntil(interrupt, server, options);
    return interruptExitCode() ?? 0;
  } finally {
    await server.stop();
  }
}

/** @throws what a model that is loaded at the start fails with */
async function listenUntil(interrupt: AbortSignal, server: ZiparServer, options: Options): Promise<void> {
  const http = await listen(server, options);
  try {
    const { port } = http.address() as { port: number };
    const host = isIP(options.host) === 6 ? `[${options.host}]` : options.host;
    say(`listening on http://${host}:${port}${options.studio === false ? "" : ", with the studio at /"}`);
    const interrupted = new Promise<void>((resolve) => {
      interrupt.addEventListener("abort", () => resolve());
      if (interrupt.aborted) resolve();
    });
    const ready = server.ready.then(() => say("ready"));
    await Promise.race([interrupted, ready.then(() => interrupted)]);
    say(`${reasonOf(interrupt.reason)}: running images may finish for ${options.stopDeadline} s`);
    await server.stop({ deadlineMs: options.stopDeadline * 1000 });
  } finally {
    await closeConnections(http);
  }
}

/** The last replies are with the system's sockets: they get a moment to leave. */
async function closeConnections(http: Server): Promise<void> {
  const closed = new Promise((resolve) => http.close(resolve));
  const closing = setInterval(() => http.closeIdleConnections(), POLL_MS);
  const timer = setTimeout(() => http.closeAllConnections(), LAST_REPLIES_MS);
  await closed;
  clearInterval(closing);
  clearTimeout(timer);
}

/** @throws ZiparError `invalid-options` where the address cannot be listened at */
function listen(server: ZiparServer, { host, port }: Options): Promise<Server> {
  return new Promise((resolve, reject) => {
    const http = serve({ fetch: server.fetch, hostname: host, port, overrideGlobalObjects: false }, () =>
      resolve(http),
    ) as Server;
    http.requestTimeout = REQUEST_TIMEOUT_MS;
    http.headersTimeout = REQUEST_TIMEOUT_MS;
    http.maxConnections = MAX_CONNECTIONS;
    http.once("error", (cause) => {
      const message = `cannot listen at ${host}, port ${port}: ${reasonOf(cause)}; choose another --port or --host`;
      reject(new ZiparError({ code: "invalid-options", message, cause }));
    });
  });
}

/** `NAME=REF`, or a reference alone, which is called as it is, or by its last part where it is a path. */
function modelsOf(options: Options): Readonly<Record<string, EngineOptions>> {
  const {
    model: references = ["demo"],
    vq,
    textEncoder,
    weightsKey,
    threads,
    dtype,
    weights,
    kvCache,
    cudaGraphs,
    size,
  } = options;
  for (const [isWrong, problem] of teamProblems(options)) if (isWrong) throw invalid(problem);
  checkListen(options);
  checkRemoteModels(options, references.length);
  if (references.length > 1 && (vq ?? textEncoder ?? weightsKey ?? size) !== undefined) {
    throw invalid(
      "--vq, --text-encoder, --weights-key and --size belong to one model; serve it alone, or put those files beside the weights",
    );
  }
  const shared = {
    vq,
    textEncoder,
    weightsKey,
    ...teamOf(options),
    threads,
    dtype,
    weights,
    kvCache,
    cudaGraphs,
    size,
    maxImages: options.maxImages,
    logger: options.verbose ? stderrLogger : undefined,
  };
  const models: Record<string, EngineOptions> = {};
  for (const text of references) {
    const { name, model } = readModel(text);
    if (name in models)
      throw invalid(`--model ${text}: the name ${name} is taken; give it another one, NAME=${model}`);
    if (options.listen === undefined) checkModel({ model, vq, textEncoder });
    models[name] = { ...shared, model };
  }
  return models;
}

/** @throws ZiparError `invalid-options` for what workers of other machines cannot do */
function checkRemoteModels({ listen, memoryBudget }: Options, modelCount: number): void {
  if (listen === undefined) return;
  if (modelCount > 1)
    throw invalid(
      "--listen waits for workers of one model; serve each other one by a `zipar serve` of its own",
    );
  if (memoryBudget !== undefined)
    throw invalid(
      "--memory-budget is about this machine, and --listen about workers on others; leave one of them out",
    );
}

function readModel(text: string): { readonly name: string; readonly model: string } {
  const [, name, model] = /^([A-Za-z0-9][\w.-]*)=(.+)$/s.exec(text) ?? [];
  if (name !== undefined && model !== undefined) return { name, model };
  const isPath = /^[./~]|^[A-Za-z]:|\\/.test(text);
  return {
    name: isPath ? basename(text).replace(/\.(pt|pth|bin|ckpt|safetensors)$/i, "") : text,
    model: text,
  };
}

/** @throws ZiparError `invalid-options` where others than this machine could ask and no key is set */
function keysOf({ host, apiKeyFile }: Options): readonly string[] {
  const keys = apiKeyFile === undefined ? [] : readToken(apiKeyFile).split(/\s+/).filter(Boolean);
  if (apiKeyFile !== undefined && keys.length === 0)
    throw invalid(`--api-key-file ${apiKeyFile} holds no key; expected one on each line`);
  if (keys.length === 0 && !LOOPBACK.test(host)) {
    throw invalid(
      `--host ${host} lets other machines ask, which takes a key: \`openssl rand -hex 32 > key && chmod 600 key\`, then --api-key-file key`,
    );
  }
  return keys;
}

/** Lines of JSON on stdout; warnings, which are not, on stderr. */
const lineLogger: Logger = {
  debug() {},
  info: (message) => void process.stdout.write(`${message}\n`),
  warn: say,
};

function say(message: string): void {
  process.stderr.write(`zipar serve: ${message}\n`);
}

function invalid(message: string): ZiparError {
  return new ZiparError({ code: "invalid-options", message });
}
