import { randomBytes } from "node:crypto";
import type { WorkerOptions } from "../decode/worker-source.ts";
import { reasonOf, withDetails, ZiparError } from "../errors.ts";
import type { RequestBody } from "../protocol/requests.ts";
import { diagnosePython } from "../python/diagnose.ts";
import { memoryKillCount } from "../system/memory-kills.ts";
import { type Hello, type Refusal, WorkerChannel } from "./channel.ts";
import { type Conversation, converse, type FirstRequest, helloWithin } from "./conversation.ts";
import { tailOf, workerDied } from "./death.ts";
import { engineClosed } from "./failures.ts";
import { WorkerProcess, type WorkerProgram } from "./process.ts";
import { localTransports, type Transport } from "./transport.ts";

const SHUTDOWN_GRACE_MS = 2_000;

/** Tells the messages of one worker of this process from those of all others. */
let lastEpoch = 0;

/**
 * Starts a worker process and opens the conversation with it.
 * @throws ZiparError `worker-start`, `worker-died`, `worker-timeout`, `protocol-version`, `cancelled`, and what the first
 *   request fails with
 */
export async function launch<First extends FirstRequest>(
  program: WorkerProgram,
  options: WorkerOptions,
  request: RequestBody<First>,
): Promise<Conversation<First>> {
  const epoch = ++lastEpoch;
  const token = randomBytes(32).toString("hex");
  const spawn = (endpoint: string) =>
    new WorkerProcess({ ...program, logger: options.logger, threadOptions: options, endpoint, token, epoch });
  const memoryKillsBefore = memoryKillCount();
  const { channel, process } = await openChannel(localTransports(options.heartbeatTimeoutMs), spawn, options);
  const death = process.ended.then((reason) => {
    const memoryKills = [memoryKillsBefore, memoryKillCount()] as const;
    channel.close(workerDied({ reason, memoryKills, output: process.output.toString() }));
  });
  channel.closed.then(() => process.kill()); // whatever is left of a worker that was given up

  const hello = () =>
    helloWithin(
      options.startTimeoutMs,
      channel.awaitHello((hello) => refusalOf(hello, token, epoch)),
      () => saidNothing(options.startTimeoutMs, process),
    );
  const stop = async (): Promise<void> => {
    process.ref();
    const shutdown = channel.request({ type: "shutdown" }).then(() => death); // it exits by itself
    await Promise.race([shutdown.catch(() => {}), shutdownGrace()]);
    channel.close(engineClosed());
    await process.ended;
  };
  try {
    const reply = await converse(channel, options, hello, request);
    const failure = () => channel.failure && withOutput(channel.failure, process);
    return { channel, reply, pid: process.pid, failure, stop };
  } catch (error) {
    await process.ended;
    throw (await unusablePython(error as ZiparError, program)) ?? withOutput(error as ZiparError, process);
  }
}

/** The first transport that can be bound, and the process of the worker that will dial in to it. */
async function openChannel(
  transports: readonly Transport[],
  spawn: (endpoint: string) => WorkerProcess,
  options: WorkerOptions,
): Promise<{ channel: WorkerChannel; process: WorkerProcess }> {
  const failures: unknown[] = [];
  for (const transport of transports) {
    // The process comes before the socket's directory: whenever we are killed, it is there to remove that.
    const early = transport.endpoint === undefined ? undefined : spawn(transport.endpoint);
    try {
      const channel = await WorkerChannel.open(transport, options);
      return { channel, process: early ?? spawn(channel.endpoint) };
    } catch (error) {
      failures.push(error);
      options.logger.debug(
        `no socket at ${transport.endpoint ?? "a port of this machine"}: ${reasonOf(error)}`,
      );
      await early?.kill();
    }
  }
  throw cannotListen(failures);
}

/** A worker that was lost before it could serve may have been given a Python that cannot run it. */
async function unusablePython(error: ZiparError, program: WorkerProgram): Promise<ZiparError | undefined> {
  if (error.code !== "worker-start" && error.code !== "worker-died") return undefined;
  const message = await diagnosePython(program, program.directory);
  return message === undefined
    ? undefined
    : new ZiparError({ code: "python-environment", message, cause: error });
}

/** Anybody but the worker that was started is a stranger. */
function refusalOf(hello: Hello, token: string, epoch: number): Refusal | undefined {
  if (hello.token === token && hello.epoch === epoch) return undefined;
  return { reason: "token", message: "this engine has started another worker" };
}

/** Does not keep Node alive. */
function shutdownGrace(): Promise<void> {
  return new Promise((resolve) => setTimeout(resolve, SHUTDOWN_GRACE_MS).unref());
}

function saidNothing(ms: number, process: WorkerProcess): ZiparError {
  return new ZiparError({
    code: "worker-timeout",
    message: `the worker said nothing for ${ms} ms after it was started${tailOf(process.output.toString())}`,
  });
}

/** The error with what the worker printed last, whoever noticed its end. */
function withOutput(error: ZiparError, process: WorkerProcess): ZiparError {
  return "output" in error.details ? error : withDetails(error, { output: process.output.toString() });
}

function cannotListen(failures: readonly unknown[]): ZiparError {
  return new ZiparError({
    code: "worker-start",
    message:
      `cannot make a socket for the worker (${failures.map(reasonOf).join("; ")}); ` +
      "give a directory that can be written and has a short path (TMPDIR)",
    cause: failures[0],
  });
}
