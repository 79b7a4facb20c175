import { afterEach, beforeEach, expect, test } from "vitest";
import * as zmq from "zeromq";
import type { WorkerOptions } from "../../src/decode/worker-source.ts";
import { silentLogger } from "../../src/logger.ts";
import { type Ready, requestSchema } from "../../src/protocol/messages.ts";
import { REPLY_TYPE, type RequestBody } from "../../src/protocol/requests.ts";
import { stubCard } from "../../src/stub/card.ts";
import { stubOptionsSchema } from "../../src/stub/options.ts";
import { WorkerChannel } from "../../src/worker/channel.ts";
import { engineClosed } from "../../src/worker/failures.ts";
import { describeRequest, initRequest } from "../../src/worker/load-request.ts";
import { SocketWorker } from "../../src/worker/socket.ts";
import { ziparErrorOf } from "../support/errors.ts";
import { HandMadeWorker, hello } from "../support/remote.ts";

const OPTIONS: WorkerOptions = {
  model: "BAAI/Emu3-Gen",
  size: { width: 64, height: 64 },
  device: "cpu",
  dtype: "auto",
  weights: "full",
  kvCache: "full",
  startTimeoutMs: 1000,
  heartbeatTimeoutMs: 0,
  firstHangTimeoutMs: 60_000,
  logger: silentLogger,
};
const SAMPLING = { guidanceScale: 1, temperature: 1, topK: 0, topP: 1 };
const READY: Ready = {
  type: "ready",
  epoch: 1,
  request: 1,
  frames: [],
  card: stubCard(stubOptionsSchema.parse({})),
  device: "cpu",
  dtype: "float32",
  limits: { cacheRowCount: 2, slotCount: 9 },
  warnings: [],
};

let channel: WorkerChannel;
let peer: HandMadeWorker;

beforeEach(async () => {
  const socket = new zmq.Router({ linger: 0 });
  await socket.bind("tcp://127.0.0.1:*");
  const endpoint = socket.lastEndpoint as string;
  const bound = { socket, endpoint, isPublic: false, stopListening() {} };
  channel = await WorkerChannel.open({ bind: async () => bound }, OPTIONS);
  peer = new HandMadeWorker(endpoint);
  await Promise.all([channel.awaitHello(() => undefined), peer.say(hello("token"))]);
});
afterEach(() => {
  channel.close(engineClosed());
  peer.close();
});

/** Answers every request with an error, which asks for no frames; returns what was sent. */
async function refuseAll(count: number): Promise<readonly Record<string, unknown>[]> {
  const heard: Record<string, unknown>[] = [];
  while (heard.length < count) {
    const request = await peer.hear();
    heard.push(request);
    const error = { code: "internal", message: "not today" };
    await peer.say({ type: "error", epoch: request.epoch, request: request.request, frames: [], error });
  }
  return heard;
}

test("every request fits the schema of the wire", async () => {
  const conversation = { channel, reply: READY, pid: undefined, failure: () => undefined, async stop() {} };
  const worker = new SocketWorker(conversation, silentLogger);
  const hub = (repository: string) => ({ type: "hub", repository, path: null, revision: null }) as const;
  const resolve = { weights: hub, part: hub };
  const codes = Int32Array.of(1, 2, 3, 4);
  const queries = [
    { kind: "ordinary", token: 1, slot: 0, step: 0, want: { type: "draw", row: 0, column: 0, uniform: 0.5 } },
  ] as const;
  const step = {
    sequence: 1,
    plan: { queries, runs: Int32Array.of(0, 1) },
    sampling: SAMPLING,
    branches: [0, 1],
  };
  const sent = [
    () => channel.request(initRequest(OPTIONS, resolve)),
    () => channel.request(describeRequest({ ...OPTIONS, vq: "BAAI/Emu3-VisionTokenizer" }, resolve)),
    () =>
      worker.encodePrompt({
        sequence: 1,
        cacheRows: [0, 1],
        rows: 2,
        columns: 2,
        conditioning: { type: "text", prompt: "a cat", negativePrompt: null },
      }),
    () => worker.forward([step]),
    () => worker.decodeImage(codes, 2, 2),
    () => worker.profile(1, codes, 2, 2),
    () => worker.release([1]),
    () => worker.stats(),
    () => channel.request({ type: "shutdown" }),
  ];
  const [heard, ...errors] = await Promise.all([refuseAll(sent.length), ...sent.map(ziparErrorOf)]);
  expect(errors.map(({ message }) => message)).toEqual(
    heard.map(({ type }) => `the worker refused "${type}": not today`),
  );
  expect(new Set(heard.map(({ type }) => type))).toEqual(new Set(Object.keys(REPLY_TYPE)));
  for (const header of heard) expect(requestSchema.parse(header)).toEqual(header);
});

test("what the schema refuses does not compile either", () => {
  // @ts-expect-error - `sequences` is missing
  const incomplete: RequestBody<"release"> = { type: "release" };
  // @ts-expect-error - a string where a number is expected
  const mistyped: RequestBody<"profile"> = { type: "profile", sequence: "1" };
  // @ts-expect-error - no field of this request
  const excessive: RequestBody<"stats"> = { type: "stats", sequence: 1 };
  const right: RequestBody<"release"> = { type: "release", sequences: [1] };
  const isAccepted = [incomplete, mistyped, excessive, right].map(
    (body) => requestSchema.safeParse({ ...body, epoch: 1, request: 1, frames: [] }).success,
  );
  expect(isAccepted).toEqual([false, false, false, true]);
});

test("what a worker wants its user to know of a prompt goes to the logger", async () => {
  const told: string[] = [];
  const logger = { ...silentLogger, warn: (message: string) => void told.push(message) };
  const conversation = { channel, reply: READY, pid: undefined, failure: () => undefined, async stop() {} };
  const worker = new SocketWorker(conversation, logger);
  const conditioning = { type: "text", prompt: "a cat 猫", negativePrompt: null } as const;
  const encoding = worker.encodePrompt({ sequence: 1, cacheRows: [0], rows: 2, columns: 2, conditioning });
  const { epoch, request } = await peer.hear();
  const branches = [{ name: "conditional", padding: 0 }];
  const reply = { type: "prompt-encoded", epoch, request, frames: [], promptLength: 3, branches };
  await peer.say({ ...reply, warnings: ['the prompt is read without "猫"'] });
  expect(await encoding).toEqual({ promptLength: 3 });
  expect(told).toEqual(['the prompt is read without "猫"']);
});

test("what a worker wants its user to know of a forward goes to the logger", async () => {
  const told: string[] = [];
  const logger = { ...silentLogger, warn: (message: string) => void told.push(message) };
  const conversation = { channel, reply: READY, pid: undefined, failure: () => undefined, async stop() {} };
  const forwarding = new SocketWorker(conversation, logger).forward([]);
  const { epoch, request } = await peer.hear();
  const answer = { type: "forward-done", epoch, request, frames: [], warnings: ["graphs are turned off"] };
  await peer.say(answer);
  await forwarding.catch(() => {});
  expect(told).toEqual(["graphs are turned off"]);
});
