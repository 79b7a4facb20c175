import { describe, expect, test, vi } from "vitest";
import { createEngine, inspectModel, stubWorker, type WorkerSource, ZiparError } from "../../src/index.ts";
import { ziparErrorOf } from "../support/errors.ts";

const stub = stubWorker({ rows: 4, columns: 6, codeCount: 50 });
const request = { classLabel: 3, window: 2, seed: 1, image: false } as const;
const thrown = new Error("disk full");

/** The stub behind a start that reports progress, and that logs. */
function chatty(stopped: string[] = []): WorkerSource {
  return {
    async open(options) {
      options.onProgress?.({ phase: "load", completed: 0, total: 1, unit: "" });
      await new Promise((resolve) => setImmediate(resolve));
      options.logger.warn("loaded");
      const worker = await stub.open(options);
      return Object.assign(worker, { stop: async () => void stopped.push("stopped") });
    },
    async describe(options) {
      options.onProgress?.({ phase: "read", completed: 0, total: 1, unit: "" });
      return (stub.describe as NonNullable<typeof stub.describe>)(options);
    },
  };
}

function throwing(): never {
  throw thrown;
}

async function rejecting(): Promise<void> {
  await new Promise((resolve) => setImmediate(resolve));
  throw thrown;
}

describe.each([
  ["throws", throwing],
  ["rejects", rejecting],
])("a function of the user's that %s", (_, failing) => {
  test("as `trace` ends its generation with what was thrown, and no other", async () => {
    await using engine = await createEngine({ worker: stub });
    const [traced, other] = await Promise.allSettled([
      engine.generate({ ...request, trace: failing }),
      engine.generate(request),
    ]);
    expect(traced).toEqual({ status: "rejected", reason: thrown });
    expect(other.status).toBe("fulfilled");
    expect((await engine.generate(request)).tokens).toHaveLength(4);
  });

  test("as `trace` at the last line leaves no result either", async () => {
    await using engine = await createEngine({ worker: stub });
    let lines = 0;
    await engine.generate({ ...request, trace: () => void lines++ });
    const trace = () => (--lines === 0 ? failing() : undefined);
    await expect(engine.generate({ ...request, trace })).rejects.toBe(thrown);
  });

  test("as `onProgress` ends the start with what was thrown, and the worker that was started", async () => {
    const stopped: string[] = [];
    await expect(createEngine({ worker: chatty(stopped), onProgress: failing })).rejects.toBe(thrown);
    await expect(inspectModel({ worker: chatty(), onProgress: failing })).rejects.toBe(thrown);
    expect(stopped).toEqual(["stopped"]);
  });

  test("as `logger` changes nothing, and Node warns of it once", async () => {
    const warn = vi.spyOn(process, "emitWarning").mockImplementation(() => {});
    const logger = { debug: failing, info: failing, warn: failing };
    await using engine = await createEngine({ worker: chatty(), logger });
    expect((await engine.generate(request)).tokens).toHaveLength(4);
    expect(warn.mock.calls.map(([message]) => message)).toEqual([expect.stringContaining("disk full")]);
  });
});

test("promises that `trace` returns are waited for before the result", async () => {
  await using engine = await createEngine({ worker: stub });
  let written = 0;
  let called = 0;
  await engine.generate({
    ...request,
    async trace() {
      called += 1;
      await new Promise((resolve) => setTimeout(resolve, 2));
      written += 1;
    },
  });
  expect([called > 5, written]).toEqual([true, called]);
});

test("a loop over events that throws cancels the generation and keeps its own error", async () => {
  await using engine = await createEngine({ worker: stub });
  const generation = engine.generate(request);
  const loop = async () => {
    for await (const _ of generation) throwing();
  };
  await expect(loop()).rejects.toBe(thrown);
  expect((await ziparErrorOf(() => generation)).code).toBe("cancelled");
});

test("a logger that lacks a level is refused", async () => {
  const logger = { debug() {}, info() {} } as unknown as Console;
  const error = await ziparErrorOf(() => createEngine({ worker: stub, logger }));
  expect([error.code, error.message]).toEqual(["invalid-options", expect.stringContaining("`warn`")]);
});

test("what a worker of the user's own fails with is the cause of a ZiparError", async () => {
  const failingStart = createEngine({ worker: { open: async () => throwing() } });
  const error = await ziparErrorOf(() => failingStart);
  expect(error).toMatchObject({ code: "internal", cause: thrown });
  const worker: WorkerSource = {
    open: async (options) => Object.assign(await stub.open(options), { forward: async () => throwing() }),
  };
  await using engine = await createEngine({ worker });
  const failed = await ziparErrorOf(() => engine.generate(request));
  expect(failed).toMatchObject({ code: "internal", cause: thrown });
  expect(failed.message).toContain("disk full");
  expect(ZiparError.is(failed)).toBe(true);
});
